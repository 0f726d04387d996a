"""Wrong command lines: a clear line for each mistake, exit code 2, nothing left behind."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from dlrun.commands import parsers

Completed = subprocess.CompletedProcess[str]
Dlrun = Callable[..., Completed]


def told(result: Completed, code: int = 2) -> list[str]:
    """The lines on stderr, after what is true of every refusal."""
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("dlrun: ")
    return [lines[0].removeprefix("dlrun: "), *(line.removeprefix("  ") for line in lines[1:])]


def project(folder: Path, files: dict[str, str]) -> set[Path]:
    """Writes a user's files; everything that then lies in the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return contents(folder)


def contents(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


VERBS = f"expected one of {', '.join(parsers.VERBS)}"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "trian: no such command. Did you mean train?"),
        (["TRAIN"], "TRAIN: no such command. Did you mean train?"),
        (["method=vae", "name=a b"], "method=vae: no such command. Did you mean dlrun train "
                                     "method=vae 'name=a b'?"),
        (["-m", "method=vae,byol"], "-m: no such command. Did you mean dlrun train -m "
                                    "method=vae,byol?"),
        (["--flag"], f"--flag: no such command; {VERBS}"),
        ([""], f"'': no such command; {VERBS}"),
        (["ünï⊗"], f"ünï⊗: no such command; {VERBS}"),
        (["a\nb"], f"'a\\nb': no such command; {VERBS}"),
    ],
)  # fmt: skip
def test_an_unknown_verb(dlrun: Dlrun, tmp_path: Path, arguments: list[str], line: str) -> None:
    assert told(dlrun(*arguments)) == [line]
    assert contents(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["method=byoll", "optimizer.lr=fast", "epoch=3"],  # the README's example
            ["3 things are wrong with the configuration; nothing was started",
             "method=byoll: no such method. Did you mean method=byol? There are autoencoder, byol, "
             "capsnet, cyclegan, dbvae, distill, multitask, siamese, supervised, vae",
             "epoch: unknown key. Did you mean epochs?",
             "optimizer.lr: got fast, expected a number > 0"],
        ),
        (["epochs", "=", "3"],
         ["epochs = 3: expected key=value without spaces around =, such as epochs=5"]),
        (["=3", "", "ünï"],
         ["3 things are wrong with the configuration; nothing was started",
          "=3: expected key=value without spaces around =, such as epochs=5",
          "'': an empty argument; expected key=value, such as epochs=5",
          "ünï: expected key=value, such as epochs=5"]),
        (["name=two\nlines", "~seed", "++epochs=1.5", "method.latent=\\"],
         ["4 things are wrong with the configuration; nothing was started",
          "name=two lines: not understood; close every quote and bracket, and give text that "
          "contains any of ,:=()[]{} as name=\"'text'\"",
          "method.latent: got \\, expected an integer >= 1",
          "seed: missing; expected an integer >= 0",
          "epochs: got 1.5, expected an integer >= 1"]),
        (["method=byol,vae"],
         ["method=byol,vae: several values are a sweep, which needs -m: dlrun train -m "
          "method=byol,vae"]),
        (["dataset=image_folder", "steps=x"],
         ["2 things are wrong with the configuration; nothing was started",
          "dataset.root: missing; give dataset.root=..., expected text",
          "steps: got x, expected an integer >= 1 or null"]),
        (["--config-dir", "nowhere"], ["--config-dir: nowhere is not a folder"]),
        (["--cfg", "job", "seed=x"], ["seed: got x, expected an integer >= 0"]),
    ],
)  # fmt: skip
def test_a_wrong_configuration(
    dlrun: Dlrun, tmp_path: Path, arguments: list[str], lines: list[str]
) -> None:
    result = dlrun("train", *arguments)
    assert sorted(told(result)[1:]) == sorted(lines[1:])
    assert told(result)[0] == lines[0]
    assert contents(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["resume", "nothing"],
            "nothing: no run of that name below outputs; `dlrun ls` lists them",
        ),
        (["show", "last"], "last: no run of that name below outputs; `dlrun ls` lists them"),
        (["resume", "."], ".: not a run (no config.yaml)"),
        (["ls"], "outputs: no such folder; runs are made by `dlrun train`"),
        (
            ["ls", "else where"],
            "else where: no such folder, nor a run or sweep of that name below outputs; "
            "`dlrun ls` lists them",
        ),
    ],
)
def test_a_run_that_is_not_there(
    dlrun: Dlrun, tmp_path: Path, arguments: list[str], line: str
) -> None:
    assert told(dlrun(*arguments)) == [line]
    assert contents(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--wrong"], "--wrong"),
        (["train", "-x", "seed=1"], "-x"),
        (["train", "--cfg", "jobs"], "-c/--cfg: got jobs. Did you mean job?"),
        (["resume"], "required: RUN"),
        (["ls", "--wrong"], "--wrong"),
        (["completion"], "required: shell"),
        (["completion", "tcsh"], "shell: got tcsh; expected one of bash, zsh, fish"),
    ],
)
def test_a_wrong_flag(dlrun: Dlrun, tmp_path: Path, arguments: list[str], words: str) -> None:
    result = dlrun(*arguments)
    assert result.returncode == 2
    assert words in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert contents(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["resume"], "the following arguments are required: RUN; see `dlrun resume --help`"),
        (["resume", "a", "--output", "b"], "--output: unknown argument. Did you mean --outputs?"),
    ],
)
def test_a_wrong_flag_in_one_line(dlrun: Dlrun, arguments: list[str], line: str) -> None:
    assert told(dlrun(*arguments)) == [line]


def test_flags_between_overrides(dlrun: Dlrun) -> None:
    result = dlrun("train", "seed=3", "--cfg", "job", "epochs=4")
    assert result.returncode == 0
    assert {"seed: 3", "epochs: 4"} <= set(result.stdout.splitlines())


def test_flags_that_would_be_passed_over(dlrun: Dlrun) -> None:
    (line,) = told(dlrun("train", "--config-name=x", "--package=y", "--cfg", "job"))
    assert line.startswith("--config-name=x: unknown argument. Did you mean --config-dir?")


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        (["epoch=1,2", "seed=0,1"], "epoch: unknown key. Did you mean epochs?"),
        (["seed=x,0", "steps=1"], "seed: got x, expected an integer >= 0"),
    ],
)
def test_a_wrong_sweep(dlrun: Dlrun, tmp_path: Path, sweep: list[str], line: str) -> None:
    assert told(dlrun("train", "-m", *sweep)) == [line]
    assert contents(tmp_path) == set()


def test_names_that_are_no_classes_of_dlrun(dlrun: Dlrun, tmp_path: Path) -> None:
    """All of them at once, and not one of them is called."""
    before = project(
        tmp_path,
        {
            "loud.py": """
                from pathlib import Path

                def function(*given):
                    Path("called").touch()

                class NotOurs:
                    def __init__(self, *given):
                        Path("called").touch()
            """,
            "broken.py": "def f(:\n    pass\n",
            "plain.py": """
                from torch import nn

                class Net(nn.Module):
                    kind = "encoder"

                    def __init__(self, config, image_shape, num_classes):
                        super().__init__()
            """,
        },
    )
    lines = told(
        dlrun(
            "train",
            "method.name=os:system",
            "model.name=plain:Net",
            "loss.name=broken:Loss",
            "dataset.name=loud:NotOurs",
            "optimizer.name=loud:function",
            "schedule.name=cosin",
        )
    )
    assert sorted(lines[1:]) == [
        "dataset.name: loud:NotOurs is no dataset; expected a subclass of "
        "dlrun.data.sources.base.DataSource",
        "loss.name: importing broken failed at broken.py:1: SyntaxError: invalid syntax",
        "method.name: os:system is no method; expected a subclass of dlrun.methods.base.Method",
        "model.name: plain:Net has no options; expected a dataclass called Config in this class",
        "optimizer.name: loud:function is no optimizer; expected a class",
        "schedule.name: no schedule is called 'cosin'. Did you mean cosine? (your own would be "
        "my_file:MyClass)",
    ]
    assert contents(tmp_path) == before


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


def test_the_options_of_an_own_method(dlrun: Dlrun, tmp_path: Path) -> None:
    before = project(
        tmp_path,
        {
            "mine.py": OWN_METHOD,
            "conf/method/mine.yaml": "name: mine:Mine\nweight: 0\nwieght: 1\n",
            "conf/model/mine.yaml": "name: mine:Mine\n",
        },
    )
    lines = told(dlrun("train", "method=mine", "model=mlp"))
    assert lines[1:] == [
        "method.wieght: unknown key. Did you mean method.weight?",
        "method.weight: got 0, expected a number > 0",
        "model=mlp: method mine:Mine needs a model of kind autoencoder, this one is of kind "
        "encoder; expected conv_autoencoder or mlp_autoencoder",
    ]
    assert contents(tmp_path) == before


def test_an_own_method_that_raises_when_it_is_built(dlrun: Dlrun, tmp_path: Path) -> None:
    """The run has begun, and failed: exit code 1, the traceback in its log."""
    project(
        tmp_path,
        {"mine.py": OWN_METHOD, "conf/method/mine.yaml": "name: mine:Mine\nweight: 1\n"},
    )
    assert told(dlrun("train", "method=mine", "seed=3"), code=1) == [
        "mine.py:18: AttributeError: 'Config' object has no attribute 'size' (the run's log.txt "
        "has the whole traceback)"
    ]
    (log,) = tmp_path.glob("outputs/fashion_mini/*/*/log.txt")
    assert "Traceback" in log.read_text()
    assert "self.size = config.size" in log.read_text()


def test_a_broken_file_in_the_own_folder(dlrun: Dlrun, tmp_path: Path) -> None:
    before = project(tmp_path, {"conf/method/mine.yaml": "name: [mine:Mine\n"})
    (line,) = told(dlrun("train", "method=mine"))
    assert line.endswith("conf/method/mine.yaml:2: expected ',' or ']', but got '<stream end>'")
    assert contents(tmp_path) == before


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
    assert process.returncode == 0
    assert errors == b""


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


def test_what_needs_no_class_imports_no_torch(tmp_path: Path) -> None:
    project(
        tmp_path, {"mine.py": OWN_METHOD, "conf/method/mine.yaml": "name: mine:Mine\nweight: 1"}
    )
    result = subprocess.run(
        [sys.executable, "-c", QUIET], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert not (tmp_path / "outputs").exists()
