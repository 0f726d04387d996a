"""Wrong command lines: a clear line for each mistake, exit code 2, nothing left behind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.cli import main, run
from dlrun.commands.parsers import VERBS

Told = Callable[..., list[str]]
Write = Callable[[str, str], Path]


@pytest.fixture
def told(project: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Runs `dlrun ARGUMENTS`; its lines on stderr, after what is true of every refusal."""

    def contents() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if "__pycache__" not in path.parts}

    def refused(*arguments: str, code: int = 2) -> list[str]:
        before = contents()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (code, "")
        assert code == 1 or contents() == before
        first, *lines = err.splitlines()
        assert first.startswith("dlrun: ") and all(line.startswith("  ") for line in lines)
        return [first.removeprefix("dlrun: "), *(line.removeprefix("  ") for line in lines)]

    return refused


NO_RUN = "no run of that name below outputs; `dlrun ls` lists them"
LIST = f"expected one of {', '.join(VERBS)}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "trian: no such command. Did you mean train?"),
        (["TRAIN"], "TRAIN: no such command. Did you mean train?"),
        (["method=vae", "name=a b"], "method=vae: no such command. Did you mean dlrun train "
                                     "method=vae 'name=a b'?"),
        (["-m", "method=vae,byol"], "-m: no such command. Did you mean dlrun train -m "
                                    "method=vae,byol?"),
        (["run", "method=vae"], "run: no such command. Did you mean dlrun train method=vae?"),
        (["trian", "method=vae"], "trian: no such command. Did you mean train?"),
        (["test", "last"], "test: no such command. Did you mean dlrun evaluate last?"),
        (["train", "--resume", "last"], "--resume: unknown argument; dlrun resume RUN continues a "
                                        "run"),
        ([""], f"'': no such command; {LIST}"),
        (["ünï⊗"], f"ünï⊗: no such command; {LIST}"),
        (["a\nb"], f"a\\nb: no such command; {LIST}"),
        (["train", "--config-dir", "nowhere"], "--config-dir: nowhere is not a folder"),
        (["train", "--cfg", "job", "seed=x"], "seed: got x, expected an integer >= 0"),
        (["train", "-m", "seed=x,0", "steps=1"], "seed: got x, expected an integer >= 0"),
        (["resume"], "the following arguments are required: RUN; see `dlrun resume --help`"),
        (["resume", "nothing"], f"nothing: {NO_RUN}"),
        (["show", "last"], f"last: {NO_RUN}"),
        (["resume", "."], ".: not a run (no config.yaml)"),
        (["ls"], "outputs: no such folder; runs are made by `dlrun train`"),
        (["ls", "else where"], "else where: no such folder, nor a run or sweep of that name below "
                               "outputs; `dlrun ls` lists them"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(told: Told, arguments: list[str], line: str) -> None:
    assert told(*arguments) == [line]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "seed=x\r"], "seed: got x, expected an integer >= 0"),
        (["show", "last\r"], f"last: {NO_RUN}"),
        (["train", "seed=1", "\r"], "an argument is a carriage return alone: save the script "
                                    "with Unix line ends"),
        (["show", "a" * 300], f"{'a' * 60}…{'a' * 19}: {NO_RUN}"),
        (["show", "\x1b[31m"], rf"\x1b[31m: {NO_RUN}"),
        (["train", "-m", "--cfg", "job"], "--cfg: it shows the config of one run; leave out -m"),
        (["train", "epochs=x", "--info"], "epochs: got x, expected an integer >= 1"),
        (["train", "--cfg", "hydra", "epoch=1"], "epoch: unknown key. Did you mean epochs?"),
        (["train", "hydra/launcher=x", "-h"], "hydra/launcher=x: only valid in a sweep; add -m"),
        (["train", "++sweep.jobs=2"], "++sweep.jobs=2: only valid in a sweep; add -m"),
        (["train", "sweep={jobs:2}"], "sweep={jobs:2}: only valid in a sweep; add -m"),
        (["report", "x", "-o", "b" * 300], f"-o/--out: got {'b' * 60}…{'b' * 19}, expected at most "
                                          "255 bytes between two slashes"),
        (["ls", "seed<x"], "seed<x: < compares numbers; got x"),
    ],
)  # fmt: skip
def test_what_a_shell_script_or_a_slip_brings(told: Told, arguments: list[str], line: str) -> None:
    assert told(*arguments) == [line]


def test_several_mistakes_at_once(told: Told) -> None:
    """The README's example, and text that is hard to print."""
    assert told("train", "method=byoll", "optimizer.lr=fast", "epoch=3") == [
        "3 things are wrong with the configuration; nothing was started",
        "method=byoll: no such method. Did you mean method=byol? There are autoencoder, byol, "
        "capsnet, cyclegan, dbvae, distill, multitask, siamese, supervised, vae",
        "epoch: unknown key. Did you mean epochs?",
        "optimizer.lr: got fast, expected a number > 0",
    ]
    assert told("train", "name=two\nlines", "~seed", "++epochs=1.5", "method.latent=\\") == [
        "4 things are wrong with the configuration; nothing was started",
        "seed: missing; expected an integer >= 0",
        "epochs: got 1.5, expected an integer >= 1",
        "name: got 'two\\nlines', expected text (at most 100 characters, no slash, no dot in "
        "front) or null",
        "method.latent: got \\, expected an integer >= 1",
    ]


def test_flags_between_overrides(project: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "seed=3", "--cfg", "job", "epochs=4"]) == 0
    assert {"seed: 3", "epochs: 4"} <= set(capsys.readouterr().out.splitlines())


def test_names_that_are_no_classes_of_dlrun(told: Told, project: Write) -> None:
    """All of them at once, and not one of them is called."""
    project(
        "loud.py",
        """
        def function(*given):
            raise AssertionError("called")

        class NotOurs:
            def __init__(self, *given):
                raise AssertionError("called")
        """,
    )
    project("broken.py", "def f(:\n    pass\n")
    project(
        "plain.py",
        """
        from torch import nn

        class Net(nn.Module):
            kind = "encoder"

            def __init__(self, config, image_shape, num_classes):
                super().__init__()
        """,
    )
    lines = told(
        "train", "method.name=os:system", "model.name=plain:Net", "loss.name=broken:Loss",
        "dataset.name=loud:NotOurs", "optimizer.name=loud:function", "schedule.name=cosin",
    )  # fmt: skip
    assert sorted(lines[1:]) == [
        "dataset.name: loud:NotOurs (loud.py:5) is not a dataset; expected a subclass of "
        "dlrun.data.sources.base.DataSource",
        "loss.name: importing broken failed at broken.py:1: SyntaxError: invalid syntax",
        "method.name: os:system is not a method; expected a subclass of dlrun.methods.base.Method",
        "model.name: plain:Net (plain.py:4) has no options; expected a dataclass called Config in "
        "this class",
        "optimizer.name: loud:function (loud.py:2) is not an optimizer; expected a class",
        "schedule.name: no schedule is called 'cosin'. Did you mean cosine? (your own would be "
        "my_file:MyClass)",
    ]


OWN_METHOD = """
    from dataclasses import dataclass

    from dlrun.methods.base import Method
    from dlrun.options import Positive


    class Mine(Method):
        @dataclass(frozen=True)
        class Config:
            weight: Positive

        model_kind = "autoencoder"

        def __init__(self, config, build):
            super().__init__()
            self.model = build.model()
            self.size = config.size

        def step(self, batch, update):
            return {}
"""


def test_the_options_of_an_own_method(told: Told, project: Write) -> None:
    project("mine.py", OWN_METHOD)
    project("conf/method/mine.yaml", "name: mine:Mine\nweight: 0\nwieght: 1\n")
    project("conf/model/mine.yaml", "name: mine:Mine\n")
    assert told("train", "method=mine", "model=mlp")[1:] == [
        "method.wieght: unknown key. Did you mean method.weight?",
        "method.weight: got 0, expected a number > 0",
        "model=mlp: method mine:Mine needs a model of kind autoencoder, this one is of kind "
        "encoder; expected conv_autoencoder or mlp_autoencoder",
    ]


def test_an_own_method_that_raises_when_it_is_built(
    told: Told, project: Write, tmp_path: Path
) -> None:
    """The run has begun, and failed: exit code 1, the traceback in its log."""
    project("mine.py", OWN_METHOD)
    project("conf/method/mine.yaml", "name: mine:Mine\nweight: 1\n")
    assert told("train", "method=mine", "seed=3", code=1) == [
        "mine.py:18: AttributeError: 'Config' object has no attribute 'size' (the run's log.txt "
        "has the whole traceback)"
    ]
    (log,) = tmp_path.glob("outputs/fashion_mini/*/*/log.txt")
    assert "Traceback" in log.read_text()
    assert "self.size = config.size" in log.read_text()


def test_a_broken_file_in_the_own_folder(told: Told, project: Write) -> None:
    project("conf/method/mine.yaml", "name: [mine:Mine\n")
    (line,) = told("train", "method=mine")
    assert line.endswith("conf/method/mine.yaml:2: expected ',' or ']', but got '<stream end>'")


def test_a_reader_that_goes_away() -> None:
    """`dlrun train --help | head -0`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dlrun", "train", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")


QUIET = """
import sys
from dlrun.cli import main

COMMANDS = [
    ["--help"], ["--version"], ["completion", "bash"], ["train", "--help"],
    ["train", "--cfg", "job"], ["train", "--cfg", "job", "method=byol", "dataset=cifar10"],
    ["train", "method=mine", "--cfg", "job"],
    ["train", "method=mine", "epoch=3"],
    ["train", "method=byoll", "seed=x"], ["train", "-m", "epoch=1,2"], ["ls"], ["resume", "none"],
]
CODES = [0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2]
for command, code in zip(COMMANDS, CODES, strict=True):
    try:
        main(command)
    except SystemExit as end:
        assert end.code == code, (command, end.code)
    loaded = {"torch", "torchvision", "tensorboard", "mine"} & set(sys.modules)
    assert not loaded, (command, loaded)
try:
    main(["train", "model=mlp"])
except SystemExit as end:
    assert end.code == 2
assert "torch" in sys.modules  # or nothing above would show anything
"""


def test_what_needs_no_class_imports_no_torch(project: Write, tmp_path: Path) -> None:
    project("mine.py", OWN_METHOD)
    project("conf/method/mine.yaml", "name: mine:Mine\nweight: 1")
    result = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert not (tmp_path / "outputs").exists()


def test_python_without_asserts_cannot_read_a_function(tmp_path: Path) -> None:
    command = [sys.executable, "-O", "-m", "dlrun", "train", "-m", "seed=range(2)", "steps=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    line = "seed=range(2): Hydra cannot read this under python -O; unset PYTHONOPTIMIZE"
    assert (done.returncode, done.stderr.splitlines()) == (2, [f"dlrun: {line}"])
