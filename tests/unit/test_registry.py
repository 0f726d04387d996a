"""Names to classes: built in, from plugins, and the user's own."""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from dlrun import registry
from dlrun.data.sources.base import DataSource
from dlrun.errors import UserError
from dlrun.methods.base import Method
from dlrun.registry import lookup, names, one_line, own_line, verified

GROUPS = ("method", "model", "loss", "dataset", "optimizer", "schedule", "logger")
BUILT_IN = [(group, name) for group in GROUPS for name in registry._BUILT_IN[group]]
BASES = {"method": Method, "model": nn.Module, "loss": nn.Module, "dataset": DataSource}

Write = Callable[[str, str], Path]


def refusal(group: str, name: str) -> str:
    with pytest.raises(UserError) as caught:
        lookup(group, name)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(("group", "name"), BUILT_IN)
def test_every_built_in_class_keeps_the_contract_for_own_ones(group: str, name: str) -> None:
    cls = lookup(group, name)
    assert verified(group, name, cls) is cls
    if isinstance(cls, type):
        assert issubclass(cls, BASES.get(group, object))
    else:
        assert group == "loss" and callable(cls)


def test_names() -> None:
    assert names("schedule")[:4] == ["constant", "cosine", "linear", "step"]
    assert set(registry._BUILT_IN) == set(registry._CONTRACTS) == set(GROUPS)


def test_a_near_name_is_suggested() -> None:
    assert refusal("method", "bylo").startswith("no method is called 'bylo'. Did you mean byol?")
    told = refusal("schedule", "zzz")
    assert told.startswith("no schedule is called 'zzz'; expected one of constant, cosine, linear")
    assert told.endswith("(your own would be my_file:MyClass)")


class TestPlugins:
    @pytest.fixture
    def install(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
        def installed(group: str, name: str, value: str) -> None:
            point = EntryPoint(name, value, group)
            monkeypatch.setattr(
                registry,
                "entry_points",
                lambda group: EntryPoints([point]).select(group=group),
            )

        return installed

    @pytest.mark.parametrize(
        ("group", "entry_group", "target"),
        [
            ("method", "dlrun.methods", "dlrun.methods.vae:VAE"),
            ("model", "dlrun.models", "dlrun.models.mlp:MLP"),
            ("loss", "dlrun.losses", "dlrun.losses.embedding:cosine"),
            ("dataset", "dlrun.datasets", "dlrun.data.sources.fashion_mini:FashionMini"),
        ],
    )
    def test_are_found_by_their_entry_points(
        self, install: Any, group: str, entry_group: str, target: str
    ) -> None:
        install(entry_group, "plugged", target)
        module, cls = target.split(":")
        assert names(group)[-1] == "plugged"
        assert lookup(group, "plugged").__name__ == cls
        assert lookup(group, "plugged").__module__ == module
        assert "plugged" not in names("optimizer")

    def test_do_not_replace_what_is_built_in(self, install: Any) -> None:
        install("dlrun.methods", "vae", "dlrun.methods.byol:BYOL")
        assert lookup("method", "vae").__name__ == "VAE"

    def test_are_verified_too(self, install: Any) -> None:
        install("dlrun.methods", "plugged", "os:system")
        assert refusal("method", "plugged").startswith(
            "plugged is not a method; expected a subclass"
        )

    def test_that_are_broken(self, install: Any) -> None:
        install("dlrun.methods", "plugged", "not_installed_anywhere.part:Method")
        assert refusal("method", "plugged").startswith("there is no not_installed_anywhere/part.py")


GOOD = """
    from dlrun.methods.base import Method

    class Mine(Method):
        def __init__(self, config, build):
            super().__init__()

        def step(self, batch, update):
            return {}
"""


class TestOwnClasses:
    @pytest.mark.parametrize(
        ("file", "name"),
        [("own_a.py", "own_a"), ("own_b/deep/methods.py", "own_b.deep.methods"),
         ("library/own_c.py", "own_c")],
    )  # fmt: skip
    def test_lie_here_or_in_a_package_or_on_the_path(
        self, project: Write, monkeypatch: pytest.MonkeyPatch, file: str, name: str
    ) -> None:
        path = project(file, GOOD)
        if "library" in file:
            monkeypatch.syspath_prepend(str(path.parent))
        cls = lookup("method", f"{name}:Mine")
        assert cls.__name__ == "Mine"
        assert lookup("method", f"{name}:Mine") is cls

    def test_that_are_not_there(self, project: Write, tmp_path: Path) -> None:
        assert refusal("method", "nowhere.at_all:Mine") == (
            f"there is no nowhere/at_all.py in {tmp_path} or on PYTHONPATH"
        )

    def test_misspelt(self, project: Write) -> None:
        project("own_d.py", GOOD)
        assert refusal("method", "own_d:Mien") == "own_d.py has no Mien. Did you mean Mine?"
        assert refusal("method", "own_d:Xyz") == (
            "own_d.py has no Xyz; expected one of Method, Mine"
        )

    @pytest.mark.parametrize(
        "name", ["own.py:", ":Mine", ":", "./own.py:Mine", "own-e:Mine", "own:Mine.Config", "a:b:c"]
    )
    def test_that_are_no_names(self, project: Write, name: str) -> None:
        assert refusal("method", name) == (
            f"got {name!r}, expected my_file:MyClass for the class MyClass in my_file.py "
            "(or my_folder.my_file:MyClass)"
        )

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("x = (\n", "at own_f.py:1: SyntaxError: '(' was never closed"),
            ("a = 1\n\nb = a.c\n",
             "at own_f.py:3: AttributeError: 'int' object has no attribute 'c'"),
            ("raise ValueError('one\\ntwo')", "at own_f.py:1: ValueError: one"),
            ("raise RuntimeError", "at own_f.py:1: RuntimeError"),
            ("import sys\nsys.exit(3)", "at own_f.py:2: SystemExit: 3"),
            ("import absent_x.y", "at own_f.py:1: ModuleNotFoundError: No module named 'absent_x'"),
            ("import torch\ntorch.zeros(2).view(3)",
             "at own_f.py:2: RuntimeError: shape '[3]' is invalid for input of size 2"),
        ],
    )  # fmt: skip
    def test_whose_file_is_broken(self, project: Write, text: str, told: str) -> None:
        project("own_f.py", text)
        assert refusal("method", "own_f:Mine").startswith(f"importing own_f failed {told}")

    def test_whose_import_is_broken_further_down(self, project: Write) -> None:
        project("own_g.py", "from own_h import thing\n")
        project("own_h.py", "\n\nthing = 1 / 0\n")
        told = refusal("method", "own_g:Mine")
        assert told == "importing own_g failed at own_h.py:3: ZeroDivisionError: division by zero"


INIT = "def __init__(self, config, build): pass"


def derived(group: str, body: str) -> str:
    """A file with a class Mine of a group."""
    base = BASES.get(group, object)
    return (
        f"from {base.__module__} import {base.__name__} as Base\n\n"
        f"class Mine(Base):\n    {body or 'pass'}\n"
    )


class TestContract:
    """What a class lacks is told before anything of it is called."""

    @pytest.mark.parametrize(
        ("group", "name"),
        [(group, name) for group in GROUPS for name in ("os:system", "os:path", "os:curdir")],
    )
    def test_refuses_what_is_no_class(self, group: str, name: str) -> None:
        article = "an" if group == "optimizer" else "a"
        assert refusal(group, name).startswith(f"{name} is not {article} {group}; expected a ")

    @pytest.mark.parametrize(
        ("group", "base"),
        [("method", "dlrun.methods.base.Method"), ("model", "torch.nn.Module"),
         ("loss", "torch.nn.Module"), ("dataset", "dlrun.data.sources.base.DataSource")],
    )  # fmt: skip
    def test_refuses_a_class_of_another_family(self, project: Write, group: str, base: str) -> None:
        project(
            "own_i.py",
            """
            class Loud:
                def __new__(cls, *given):
                    raise AssertionError("called")

                def __init_subclass__(cls):
                    raise AssertionError("called")
            """,
        )
        told = refusal(group, "own_i:Loud")
        assert told == f"own_i:Loud (own_i.py:2) is not a {group}; expected a subclass of {base}"

    @pytest.mark.parametrize(
        ("group", "body", "told"),
        [
            ("method", "", "is not a method yet; add __init__(self, config, build)"),
            ("method", INIT, "is not a method yet; add step(self, batch, update)"),
            ("method", "def __init__(self): pass",
             ": expected __init__(self, config, build), got too many positional arguments"),
            ("method", "def __init__(self, config, build, more): pass",
             ": expected __init__(self, config, build), got missing a required argument: 'more'"),
            ("method", f"{INIT}\n    def step(self, batch): pass",
             ": expected step(self, batch, update), got too many positional arguments"),
            ("method", f"{INIT}\n    step = 3",
             ": expected step(self, batch, update), got 3 is not a callable object"),
            ("model", "", "is not a model yet; add kind"),
            ("model", "kind = 'encoder'",
             "is not a model yet; add __init__(self, config, image_shape, num_classes)"),
            ("model", "kind = None", ": its kind is None, expected text such as 'encoder'"),
            ("loss", "kind = 'logits'", "is not a loss yet; add __init__(self, config)"),
            ("loss", "kind = 'logits'\n    def __init__(self, config): pass",
             "is not a loss yet; add forward(self, logits, labels)"),
            ("loss", "kind = 'scores'\n    def __init__(self, config): pass\n"
                     "    def forward(self, scores, real): pass",
             ": expected forward(self, scores, real=True, for_generator=False), "
             "got got an unexpected keyword argument 'for_generator'"),
            ("dataset", "", "is not a dataset yet; add load(self, config, data_dir)"),
            ("dataset", "class Config: pass\n    def load(self, config, data_dir): pass",
             ": its Config must derive from SourceConfig in dlrun.data.sources.base"),
            ("optimizer", "", "is not an optimizer yet; add reference_batch"),
            ("optimizer", "reference_batch = None",
             "is not an optimizer yet; add build(groups, config, lr, fused)"),
            ("schedule", "", "is not a schedule yet; add factor(config, progress)"),
        ],
    )  # fmt: skip
    def test_names_the_missing_part(self, project: Write, group: str, body: str, told: str) -> None:
        project("own_j.py", derived(group, body))
        assert (
            refusal(group, "own_j:Mine")
            == f"own_j:Mine (own_j.py:3){'' if told[0] == ':' else ' '}{told}"
        )

    @pytest.mark.parametrize(
        ("group", "body"),
        [
            ("method", "def __init__(self, config, build, *more): pass\n"
                       "    def step(self, *given): pass"),
            ("method", "def __init__(self, c, b, extra=1): pass\n    def step(self, b, u): pass"),
            ("model", "kind = ('encoder', 'generator')\n    def __init__(self, *given): pass"),
            ("loss", "kind = 'images'\n    def __init__(self, options): pass\n"
                     "    def forward(self, made, wanted): pass\n    def mean(self, made): pass"),
            ("dataset", "def load(self, config, data_dir): pass"),
            ("optimizer", "reference_batch = 256\n    @staticmethod\n"
                          "    def build(groups, config, lr, fused): pass"),
            ("schedule", "@staticmethod\n    def factor(config, progress): pass"),
        ],
    )  # fmt: skip
    def test_takes_what_can_be_called_as_it_is_called(
        self, project: Write, group: str, body: str
    ) -> None:
        project("own_k.py", derived(group, body))
        assert lookup(group, "own_k:Mine").__name__ == "Mine"


class TestOwnLine:
    def test_is_the_last_of_the_users_own(self, project: Write) -> None:
        project("own_l.py", "import torch\n\ndef f():\n    return torch.zeros(2).view(3)\n")
        sys.path.insert(0, str(Path.cwd()))
        import own_l  # type: ignore[import-not-found]

        with pytest.raises(RuntimeError) as caught:
            own_l.f()
        own_frames = caught.value.with_traceback(caught.tb.tb_next)
        assert own_line(own_frames) == "own_l.py:4"

    def test_is_none_where_only_packages_are_on_the_way(self) -> None:
        from omegaconf import OmegaConf

        with pytest.raises(Exception, match="foo") as caught:
            OmegaConf.create({"a": "${foo}"}).a  # noqa: B018
        assert own_line(caught.value.with_traceback(caught.tb.tb_next)) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (ValueError("\n one "), "ValueError: one"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (SyntaxError("bad", ("f.py", 1, 1, "x")), "SyntaxError: bad"),
    ],
)
def test_one_line(error: Exception, told: str) -> None:
    assert one_line(error) == told


def test_a_loss_may_be_a_function_that_says_what_it_takes(project: Write) -> None:
    project(
        "own_loss.py",
        """
        from dlrun.losses.base import loss
        from dlrun.options import Positive

        @loss("logits")
        def mine(logits, labels, *, scale: Positive):
            return scale * logits[:, 0]

        def bare(logits, labels):
            return logits[:, 0]
        """,
    )
    assert lookup("loss", "own_loss:mine").kind == "logits"
    told = refusal("loss", "own_loss:bare")
    assert told.startswith(
        'own_loss:bare (own_loss.py:9) is not a loss yet; put @loss("logits"), or another kind'
    )
