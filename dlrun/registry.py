"""Names to classes, imported only when they are used.

A name is one of the built-in options, the name of an installed plugin (an entry point in the group
`dlrun.methods`, `dlrun.models`, `dlrun.losses`, `dlrun.datasets` or `dlrun.loggers`), or
`module:Class`, a class of the user's own.
"""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path
from typing import Any

from dlrun.errors import CodeError, UserError
from dlrun.text import short, suggest

_BUILT_IN: dict[str, dict[str, str]] = {
    "method": {
        "supervised": "dlrun.methods.supervised:Supervised",
        "multitask": "dlrun.methods.multitask:Multitask",
        "distill": "dlrun.methods.distill:Distill",
        "byol": "dlrun.methods.byol:BYOL",
        "siamese": "dlrun.methods.siamese:Siamese",
        "capsnet": "dlrun.methods.capsnet:CapsNet",
        "autoencoder": "dlrun.methods.autoencoder:Autoencoder",
        "vae": "dlrun.methods.vae:VAE",
        "dbvae": "dlrun.methods.dbvae:DBVAE",
        "cyclegan": "dlrun.methods.cyclegan:CycleGAN",
    },
    "model": {
        "mlp": "dlrun.models.mlp:MLP",
        "cnn": "dlrun.models.cnn:CNN",
        "resnet": "dlrun.models.resnet:ResNet",
        "wide_resnet": "dlrun.models.resnet:WideResNet",
        "vgg": "dlrun.models.cnn:VGG",
        "torchvision": "dlrun.models.torchvision_models:TorchvisionModel",
        "capsnet": "dlrun.models.capsnet:Capsules",
        "mlp_autoencoder": "dlrun.models.autoencoder:MLPAutoencoder",
        "conv_autoencoder": "dlrun.models.autoencoder:ConvAutoencoder",
        "mlp_decoder": "dlrun.models.autoencoder:MLPDecoder",
        "conv_decoder": "dlrun.models.autoencoder:ConvDecoder",
        "resnet_generator": "dlrun.models.generator:ResNetGenerator",
        "unet_generator": "dlrun.models.generator:UNetGenerator",
        "patchgan": "dlrun.models.discriminator:PatchGAN",
    },
    "loss": {
        "cross_entropy": "dlrun.losses.classification:cross_entropy",
        "binary_cross_entropy": "dlrun.losses.classification:binary_cross_entropy",
        "focal": "dlrun.losses.classification:focal",
        "binary_focal": "dlrun.losses.classification:binary_focal",
        "hinge": "dlrun.losses.classification:hinge",
        "multi_margin": "dlrun.losses.classification:multi_margin",
        "margin": "dlrun.losses.classification:margin",
        "squared_error": "dlrun.losses.regression:squared_error",
        "absolute_error": "dlrun.losses.regression:absolute_error",
        "huber": "dlrun.losses.regression:huber",
        "kd": "dlrun.losses.distillation:kd",
        "kd_cross_entropy": "dlrun.losses.distillation:kd_cross_entropy",
        "dkd": "dlrun.losses.distillation:dkd",
        "kd_cosine": "dlrun.losses.distillation:kd_cosine",
        "hint": "dlrun.losses.distillation:hint",
        "attention": "dlrun.losses.distillation:attention",
        "triplet": "dlrun.losses.embedding:triplet",
        "contrastive": "dlrun.losses.embedding:contrastive",
        "cosine_embedding": "dlrun.losses.embedding:cosine_embedding",
        "cosine": "dlrun.losses.embedding:cosine",
        "bce": "dlrun.losses.reconstruction:Bernoulli",
        "mse": "dlrun.losses.reconstruction:Gaussian",
        "lsgan": "dlrun.losses.adversarial:least_squares",
        "bce_gan": "dlrun.losses.adversarial:binary_cross_entropy",
        "hinge_gan": "dlrun.losses.adversarial:hinge",
    },
    "dataset": {
        "fashion_mini": "dlrun.data.sources.fashion_mini:FashionMini",
        "fashion_mnist": "dlrun.data.sources.downloads:FashionMNIST",
        "mnist": "dlrun.data.sources.downloads:MNIST",
        "cifar10": "dlrun.data.sources.downloads:CIFAR10",
        "cifar100": "dlrun.data.sources.downloads:CIFAR100",
        "image_folder": "dlrun.data.sources.image_folder:ImageFolder",
        "two_domains": "dlrun.data.sources.two_domains:TwoDomains",
    },
    "optimizer": {
        "sgd": "dlrun.training.optimizers:SGD",
        "adam": "dlrun.training.optimizers:Adam",
        "adamw": "dlrun.training.optimizers:AdamW",
        "lars": "dlrun.training.optimizers:LARS",
    },
    "schedule": {
        "constant": "dlrun.training.schedules:Constant",
        "cosine": "dlrun.training.schedules:Cosine",
        "linear": "dlrun.training.schedules:Linear",
        "step": "dlrun.training.schedules:Step",
        "one_cycle": "dlrun.training.schedules:OneCycle",
    },
    "logger": {
        "tensorboard": "dlrun.runs.loggers:TensorBoard",
    },
}


# What a class from outside must have, checked before any of its code is called: its base class, and
# what it must define itself. Brackets show how dlrun calls it.
_CONTRACTS: dict[str, tuple[str, ...]] = {
    "method": (
        "dlrun.methods.base:Method",
        "__init__(self, config, build)",
        "step(self, batch, update)",
    ),
    "model": ("torch.nn:Module", "kind", "__init__(self, config, image_shape, num_classes)"),
    "loss": ("torch.nn:Module", "kind", "__init__(self, config)"),
    "dataset": ("dlrun.data.sources.base:DataSource", "load(self, config, data_dir)"),
    "optimizer": ("builtins:object", "reference_batch", "build(groups, config, lr, fused)"),
    "schedule": ("builtins:object", "factor(config, progress)"),
    "logger": (
        "builtins:object",
        "__init__(self, config, run)",
        "scalars(self, step, values)",
        "image(self, step, name, image)",
        "histogram(self, step, name, values)",
        "text(self, step, name, text)",
        "close(self)",
    ),
}
CALLS = {
    "logits": "logits, labels",
    "values": "output, target",
    "vectors": "p, z",
    "triplets": "anchor, positive, negative",
    "images": "output, image",
    "lengths": "lengths, labels",
    "distillation": "student, teacher, labels",
    "scores": "scores, real=True, for_generator=False",
}
"""How methods call a loss of each kind."""
_ABSENT: Any = object()


def names(group: str) -> list[str]:
    """Every name that `lookup` knows in `group`, built-in first."""
    return [*_BUILT_IN[group], *(point.name for point in _plugins(group))]


def lookup(group: str, name: str, own_code: bool = True) -> Any:
    """The class behind `name` in `group`.

    Args:
        group: method, model, loss, dataset, optimizer, schedule or logger.
        name: a name of the registry, or `module:Class`, for which that module is imported.
        own_code: whether `module:Class` is allowed. Not for a name that comes from a file: whoever
            made the file would choose the code that runs.

    Raises:
        UserError: no such name (with the nearest one), a module that cannot be imported, or a class
            that is not what its group needs.
    """
    target = _BUILT_IN[group].get(name)
    if target is not None:
        return _load(target)
    if ":" in name and not own_code:
        raise UserError(
            f"{name}: a file may not name code to run; give the folder of its run instead"
        )
    if ":" in name:
        return verified(group, name, _own_class(name))
    for point in _plugins(group):
        if point.name == name:
            return verified(group, name, _imported(point.load, point.module))
    known = names(group)
    raise UserError(
        f"no {group} is called {name!r}{suggest(name, sorted(known))} "
        "(your own would be my_file:MyClass)"
    )


def verified(group: str, name: str, cls: Any) -> Any:
    """`cls`, after a check that it is what `group` needs.

    Raises:
        UserError: it derives from something else or lacks a part; says which.
    """
    if problem := _problem(group, cls):
        raise UserError(f"{name}{at(cls)}{problem}")
    return cls


def _problem(group: str, cls: Any) -> str | None:
    if group == "loss" and inspect.isfunction(cls):
        if not hasattr(cls, "kind"):
            return (
                ' is not a loss yet; put @loss("logits"), or another kind, in front of it '
                "(from dlrun.losses.base import loss)"
            )
        calls = (f"{cls.__name__}({arguments})" for arguments in _calls(cls))
        return next(filter(None, (_call_problem(call, cls) for call in calls)), None)
    target, *parts = _CONTRACTS[group]
    if group == "loss":
        parts += [f"forward(self, {arguments})" for arguments in _calls(cls)]
        parts += ["mean(self, output)"] if "images" in _kinds(cls) else []
    base = _load(target)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        wanted = "a class" if base is object else f"a subclass of {target.replace(':', '.')}"
        return f" is not {_a(group)}; expected {wanted}"
    for part in parts:
        attribute, brackets, _ = part.partition("(")
        own = getattr(cls, attribute, _ABSENT)
        # A subclass of torch's Module inherits an __init__ that takes nothing of ours.
        if own is getattr(base, attribute, _ABSENT):
            return f" is not {_a(group)} yet; add {part}"
        if attribute == "kind" and not isinstance(own, str | tuple):
            return f": its kind is {own!r}, expected text such as 'encoder'"
        if brackets and (problem := _call_problem(part, own)):
            return problem
    options = getattr(base, "Config", object)
    config = getattr(cls, "Config", options)
    if isinstance(config, type) and not issubclass(config, options):
        return f": its Config must derive from {options.__name__} in {base.__module__}"
    return None


def _kinds(cls: Any) -> tuple[str, ...]:
    kind = getattr(cls, "kind", ())
    return kind if isinstance(kind, tuple) else (kind,)


def _calls(cls: Any) -> list[str]:
    """How methods call a loss: its arguments, for each of its kinds that dlrun knows."""
    return [CALLS[kind] for kind in _kinds(cls) if kind in CALLS]


def _call_problem(call: str, function: Any) -> str | None:
    """What keeps a function from being called as in 'step(self, batch, update)'."""
    words = call.partition("(")[2].rstrip(")").split(", ")
    named = dict(word.split("=") for word in words if "=" in word)
    plain = [word for word in words if "=" not in word]
    try:
        signature = inspect.signature(function)
        needed = [  # the options of a loss that is a function are given by keyword
            p
            for p in signature.parameters.values()
            if p.kind is not p.KEYWORD_ONLY or p.name in named or not hasattr(function, "options")
        ]
        signature.replace(parameters=needed).bind(*plain, **named)
    except (TypeError, ValueError) as error:
        return f": expected {call}, got {error}"
    return None


def own_line(error: BaseException) -> str | None:
    """'my.py:12', the last line of the user's own code in the traceback; None without one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{short(error.filename)}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not _is_installed(frame.filename):
            return f"{short(frame.filename)}:{frame.lineno}"
    return None


def place(code: Any) -> str | None:
    """'my.py:12', where a class or function of the user's own begins; None for any other."""
    try:
        code = inspect.unwrap(code)
        file, line = inspect.getsourcefile(code), inspect.getsourcelines(code)[1]
    except (TypeError, OSError):  # written in C, or typed at a prompt
        return None
    return None if file is None or _is_installed(file) else f"{short(file)}:{line}"


def at(code: Any) -> str:
    """' (my.py:12)' behind the name of what the user has written; '' of anything else."""
    where = place(code)
    return f" ({where})" if where else ""


def told(error: BaseException, names: Iterable[str] = ()) -> str | None:
    """The message of an error for people, in front of it the line of the user's own code.

    Args:
        error: of any kind.
        names: classes of the user's own that were in use, as `my_file:MyClass`. They are named
            where dlrun or torch failed on what one of them gave, after it had returned.

    Returns:
        None for what no code of the user's own has to do with.
    """
    if isinstance(error, UserError) and not isinstance(error, CodeError):
        return str(error)
    text = str(error) if isinstance(error, CodeError) else one_line(error)
    where = place(getattr(error, "code", None)) or own_line(error)
    if where is not None:
        return f"{where}: {text}"
    if isinstance(error, CodeError):
        return text
    used = ", ".join(f"{name.partition(':')[2]} at {place(_own_class(name))}" for name in names)
    if not used:
        return None
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{used}: what it gave led to {text}, at {short(last.filename)}:{last.lineno}"


def one_line(error: BaseException) -> str:
    """'ValueError: why', without the lines that follow."""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    lines = text.strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _a(group: str) -> str:
    return f"{'an' if group == 'optimizer' else 'a'} {group}"


def _plugins(group: str) -> EntryPoints:
    return entry_points(group=f"dlrun.{group}{'es' if group.endswith('s') else 's'}")


def _load(target: str) -> Any:
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def _own_class(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), attribute)):
        raise UserError(
            f"got {name!r}, expected my_file:MyClass for the class MyClass in my_file.py "
            "(or my_folder.my_file:MyClass)"
        )
    # A console script does not have the current folder on its path, as `python train.py` would.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _imported(lambda: importlib.import_module(module_name), module_name)
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if isinstance(value, type)]
        where = short(getattr(module, "__file__", None) or module_name)
        elsewhere = Path(where).is_absolute()  # not in the folder where the user seems to be
        which = f"; {module_name} was looked for in {here} first" if elsewhere else ""
        raise UserError(f"{where} has no {attribute}{suggest(attribute, known)}{which}")
    return getattr(module, attribute)


def _imported(load: Callable[[], Any], module_name: str) -> Any:
    """The result of `load`. Raises UserError with the line of the user's code that is wrong."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name
        if absent and f"{module_name}.".startswith(f"{absent}."):
            file = module_name.replace(".", "/") + ".py"
            raise UserError(f"there is no {file} in {Path.cwd()} or on PYTHONPATH") from error
        line = own_line(error)
        where = f" at {line}" if line else ""
        raise UserError(f"importing {module_name} failed{where}: {one_line(error)}") from error


def _is_installed(file: str) -> bool:
    """Whether a file of code is dlrun's, Python's or a package's, and not the user's own."""
    path = Path(file)
    folders = (Path(__file__).parent, Path(os.__file__).parent)
    return (
        file.startswith("<")
        or any(path.is_relative_to(folder) for folder in folders)
        or bool({"site-packages", "dist-packages"} & set(path.parts))
    )
