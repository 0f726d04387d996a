"""Names to classes, imported only when they are used.

A name is one of the built-in options, the name of an installed plugin (an entry point in the group
`dlrun.methods`, `dlrun.models`, `dlrun.losses` or `dlrun.datasets`), or `module:Class`, a class of
the user's own.
"""

import difflib
import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from dlrun.errors import UserError

_BUILT_IN: dict[str, dict[str, str]] = {
    "method": {
        "supervised": "dlrun.methods.supervised:Supervised",
        "byol": "dlrun.methods.byol:BYOL",
        "vae": "dlrun.methods.vae:VAE",
        "cyclegan": "dlrun.methods.cyclegan:CycleGAN",
    },
    "model": {
        "mlp": "dlrun.models.mlp:MLP",
        "resnet": "dlrun.models.resnet:ResNet",
        "mlp_autoencoder": "dlrun.models.autoencoder:MLPAutoencoder",
        "conv_autoencoder": "dlrun.models.autoencoder:ConvAutoencoder",
        "resnet_generator": "dlrun.models.generator:ResNetGenerator",
        "patchgan": "dlrun.models.discriminator:PatchGAN",
    },
    "loss": {
        "cross_entropy": "dlrun.losses.classification:CrossEntropy",
        "bce": "dlrun.losses.reconstruction:Bernoulli",
        "mse": "dlrun.losses.reconstruction:Gaussian",
        "cosine": "dlrun.losses.similarity:Cosine",
        "lsgan": "dlrun.losses.adversarial:LeastSquares",
        "bce_gan": "dlrun.losses.adversarial:BinaryCrossEntropy",
        "hinge_gan": "dlrun.losses.adversarial:Hinge",
    },
    "dataset": {
        "fashion_mini": "dlrun.data.sources.fashion_mini:FashionMini",
        "fashion_mnist": "dlrun.data.sources.downloads:FashionMNIST",
        "mnist": "dlrun.data.sources.downloads:MNIST",
        "cifar10": "dlrun.data.sources.downloads:CIFAR10",
        "cifar100": "dlrun.data.sources.downloads:CIFAR100",
        "image_folder": "dlrun.data.sources.image_folder:ImageFolder",
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
    },
}


def names(group: str) -> list[str]:
    """Every name that `lookup` knows in `group`, built-in first."""
    plugins = [point.name for point in entry_points(group=f"dlrun.{group}s")]
    return [*_BUILT_IN[group], *plugins]


def lookup(group: str, name: str) -> Any:
    """The class behind `name` in `group`.

    Raises:
        UserError: no such name (with the nearest one), or the user's module cannot be imported.
    """
    target = _BUILT_IN[group].get(name)
    if target is None and ":" in name:
        return _own_class(group, name)
    if target is None:
        for point in entry_points(group=f"dlrun.{group}s"):
            if point.name == name:
                return point.load()
        raise UserError(f"no {group} is called {name!r}{suggest(name, names(group))}")
    module, attribute = target.split(":")
    return getattr(importlib.import_module(module), attribute)


def suggest(given: str, known: list[str]) -> str:
    """'. Did you mean ...?' for the nearest of `known`, or what there is."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
    return f". Did you mean {near[0]}?" if near else f": expected one of {', '.join(sorted(known))}"


def _own_class(group: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    # A console script does not have the current folder on its path, as `python train.py` would.
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.split(".")[0] and error.name != module_name:
            raise UserError(f"{group} {name}: importing {module_name} failed: {error}") from error
        where = module_name.replace(".", "/") + ".py"
        raise UserError(
            f"{group} {name}: no module {module_name}; expected {where} in {here} or on PYTHONPATH"
        ) from error
    except Exception as error:
        raise UserError(
            f"{group} {name}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    if not hasattr(module, attribute):
        known = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise UserError(
            f"{group} {name}: {module_name} has no {attribute}{suggest(attribute, known)}"
        )
    return getattr(module, attribute)
