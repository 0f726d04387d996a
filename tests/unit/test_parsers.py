"""The arguments of the verbs: every example in a help text is right, mistakes are explained."""

import re
import shlex
import subprocess
import sys

import pytest

from dlrun.commands.parsers import VERBS, at_least, parse, parser_of
from dlrun.errors import UserError


def examples(verb: str) -> list[list[str]]:
    """The arguments of the examples in its help, without the remarks behind them."""
    lines = re.findall(rf"^  dlrun {verb}\b(.*)$", parser_of(verb).format_help(), re.MULTILINE)
    return [shlex.split(re.split(r" {2,}| \|", line)[0]) for line in lines]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_the_help_are_right(verb: str) -> None:
    for arguments in examples(verb):
        parse(verb, arguments)
    assert examples(verb) or verb in ("doctor", "completion")


def test_flags_may_stand_anywhere() -> None:
    options = parse("predict", ["--top", "3", "last", "a.png", "--all", "b.png"])
    assert (options.run, options.images, options.top) == ("last", ["a.png", "b.png"], 3)


@pytest.mark.parametrize(
    ("verb", "arguments", "line"),
    [
        ("predict", "a b --top 0", "--top: got 0, expected an integer >= 1"),
        ("predict", "a b --top few", "--top: got few, expected an integer >= 1"),
        ("predict", "a b --top", "--top: expected one argument"),
        ("predict", "a b --tops=3", "--tops=3: unknown argument. Did you mean --top?"),
        ("predict", "a b --format jsn", "--format: got jsn. Did you mean json?"),
        ("predict", "a", "the following arguments are required: IMAGE; see `dlrun predict --help`"),
        ("embed", "a --sample 2", "--sample: got 2, expected an integer >= 3"),
        ("traverse", "a --dims 0 -1", "--dims: got -1, expected an integer >= 0"),
        ("interpolate", "a b c --steps 1", "--steps: got 1, expected an integer >= 2"),
        ("resume", "a --devices 1.5", "--devices: got 1.5, expected an integer >= 1"),
        ("show", "a b", "b: unknown argument; see `dlrun show --help`"),
        ("gc", "faild", "KIND: got faild. Did you mean failed?"),
        ("gc", "--days soon", "--days: got soon, expected a number >= 0"),
        ("ls", "--json --csv", "--csv: not allowed with argument --json"),
        ("resume", "a --output b", "--output: unknown argument. Did you mean --outputs?"),
        ("completion", "", "the following arguments are required: shell; see `dlrun completion "
                           "--help`"),
        ("completion", "tcsh", "shell: got tcsh; expected one of bash, zsh, fish"),
        ("train", "--cfg jobs", "-c/--cfg: got jobs. Did you mean job?"),
        ("train", "--config-name=x --package=y",
         "--config-name=x: unknown argument. Did you mean --config-dir?"),
        ("train", "--epochs 3",
         "--epochs: unknown argument; keys are set without dashes, such as epochs=5"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(verb: str, arguments: str, line: str) -> None:
    with pytest.raises(UserError) as told:
        parse(verb, arguments.split())
    assert str(told.value) == line


def test_a_number_at_least() -> None:
    assert (at_least(2)("2"), at_least(0.0)("0.5")) == (2, 0.5)
    assert isinstance(at_least(2)("2"), int)
    for text in ("nan", "-0.1", ""):
        with pytest.raises(Exception, match="expected a number >= 0"):
            at_least(0.0)(text)


def test_help_imports_nothing_large() -> None:
    script = """
import sys
from dlrun.cli import run
for verb in sys.argv[1:]:
    try:
        run([verb, "--help"])
    except SystemExit:
        pass
loaded = {"torch", "hydra", "omegaconf", "rich", "numpy"} & set(sys.modules)
assert not loaded, loaded
"""
    others = [verb for verb in VERBS if verb not in ("train", "tune")]  # they list config groups
    done = subprocess.run(
        [sys.executable, "-c", script, *others], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: dlrun") == len(others)
