"""Random command lines over all verbs: a line of text at most, the right exit code, and soon.

They run in this process. What a right line would begin - a training, a measurement - is replaced by
its exit code 0; everything before it is real.
"""

import io
import os
import random
import shlex
import signal
import sys
import time
import traceback
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from run_folders import make_run, make_sweep

import dlrun.commands.start
import dlrun.sweeps.hydra
import dlrun.training.hardware
from dlrun.cli import main
from dlrun.commands.parsers import VERBS, parser_of
from dlrun.config.compose import compose_plain, composer
from dlrun.text import flatten

VALUES = (
    "", " ", "0", "-1", "1", "3", "0.5", "1e-3", "1e999", "-0", "nan", "inf", "null", "true",
    "10%", "2 epochs", "30 s", "1" * 30, "9" * 5000, "10**9", "0x10", "1_000", "٣", "~/pictures",
    "~nobody", "$HOME/x", "${seed}", "${", "${nope}", "$(ls)", "`ls`", "bücher", "图", "R&D",
    "it's", '"', "'", "a b", "a\tb", "a\nb", "a\r", "\x1b[31mred", "\x07", "\u202e", "\udcff",
    "a=b", "lr=0.1", "(1)",
    "[x]", "[", "]", "{", "{a:1}", "[1,2]", "[1,[2,[3]]]", "[" * 300, "a,b", ",", "1,2,3", "0,0",
    "range(0)", "range(3)", "range(0,10**12)", "range(0,1000000000000)", "range(0,1,0)", "choice()",
    "choice(a,b)", "interval(1,2)", "glob(*)", "glob(zzz*)", "int(1.5)", "shuffle(1,2)", "???", "*",
    "folder/..", "/proc/self/no", "/dev/null", "/dev/zero", "-", "--", "=", "==", "a" * 300,
    "x" * 100_000,
    "ü" * 5000, "nosuch", "last", "2024", "file.txt", "folder", "outputs", "module:Class", "a.b.c",
)  # fmt: skip
KEYS = (
    "zzz", "epoch", "lr", "optimizer.zzz", "seed.x", "hydra.run.dir", "hydra/launcher", "a" * 5000,
    "hydra.zzz", "bü", "", ".", "a..b", "a.", "method@x", "model@method.model", "\x1b[31m", "a b",
    "-x", "~seed", "+seed", "++epochs", "+new", "~optimizer", "~", "+", "dataset.root",
    "sweep.jobs", "tune.trials", "++sweep.jobs", "sweep", "status", "test.accuracy", "run",
)  # fmt: skip
SECONDS = 2.0  # of the processor
LONGEST = 2000  # characters of a printed line
HANGS = 30  # seconds


class _Hangs(BaseException):
    """Longer than HANGS."""


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    """See run.py."""
    outputs = folder / "outputs"
    for number in range(3):
        make_run(outputs / "fashion_mini" / "supervised" / f"261126-101{number}", seed=number)
    make_sweep(outputs)
    (folder / "folder").mkdir()
    (folder / "file.txt").write_text("text\n")
    with composer() as own:
        groups = own.options
    keys = [key for key in flatten(compose_plain([])) if not key.endswith(".name")]
    with ExitStack() as stack:
        for replaced in _replaced():
            stack.enter_context(replaced)
        home = {"HOME": str(folder), "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "100"}
        stack.enter_context(patch.dict(os.environ, home))
        torch.zeros(2, 2) @ torch.zeros(2, 2)  # the first product takes its time
        before = Path.cwd()
        os.chdir(folder)
        try:
            for _ in range(size):
                yield _tried(_line(rng, groups, keys))
        finally:
            os.chdir(before)


def _replaced() -> list[Any]:
    """What a right line would begin."""

    def begun(*arguments: Any, **options: Any) -> None:
        raise SystemExit(0)

    return [
        patch.object(dlrun.commands.start, "start", begun),
        patch.object(dlrun.commands.start, "resume", begun),
        patch.object(dlrun.sweeps.hydra, "plan", begun),
        patch("dlrun.training.launch.relaunch", begun),
        patch("dlrun.sweeps.tune._run_trials", begun),
        patch.object(dlrun.training.hardware, "measure", lambda device: {}),
        patch.object(webbrowser, "open", lambda url: True),
    ]


def _line(rng: random.Random, groups: dict[str, list[str]], keys: Sequence[str]) -> tuple[str, ...]:
    """A verb, or none, with flags and words that may fit."""
    verb = rng.choice([*VERBS, *["train"] * 12, *["tune", "ls", "evaluate"] * 2, "trian", "--help"])
    if verb not in VERBS:
        return (verb, *(_word(rng, groups, keys) for _ in range(rng.randrange(3))))
    flags = [name for action in parser_of(verb).arguments for name in action.option_strings]
    flags = [name for name in flags if name not in ("--yes", "-y")]  # the runs are needed
    words: list[str] = []
    if verb not in ("train", "tune", "doctor", "completion", "gc") and rng.random() < 0.8:
        words.append(rng.choice(["last", "sizes", "261126-1010", "outputs", rng.choice(VALUES)]))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5))):
        if flags and rng.random() < (0.15 if verb in ("train", "tune") else 0.5):
            words.append(rng.choice([*flags, "--nosuch", "-q", "--seed=3"]))
            if rng.random() < 0.6:
                words.append(rng.choice(VALUES))
        elif verb in ("train", "tune", "ls", "evaluate", "resume") or rng.random() < 0.3:
            words.append(_word(rng, groups, keys))
        else:
            words.append(rng.choice(VALUES))
    return (verb, *words)


def _word(rng: random.Random, groups: dict[str, list[str]], keys: Sequence[str]) -> str:
    """KEY=VALUE of which key, value, both or none is right."""
    kind = rng.random()
    if kind < 0.25:
        group = rng.choice(list(groups))
        option = rng.choice([*groups[group], rng.choice(VALUES)])
        return f"{group}={option}"
    key = rng.choice(keys if kind < 0.8 else KEYS)
    return f"{key}{rng.choice(['=', '=', '=', '=', '=', '', '<', '=='])}{rng.choice(VALUES)}"


def _tried(line: tuple[str, ...]) -> str | None:
    """Runs `dlrun LINE`; what is wrong with what came."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    signal.signal(signal.SIGALRM, _hung)
    signal.alarm(HANGS)
    code: Any = None
    try:
        with redirect_stdout(out), redirect_stderr(err), _standard_input():
            main(line)
    except SystemExit as end:
        code = end.code or 0
    except _Hangs:
        return _failure(line, f"hangs: {HANGS} s")
    except BaseException as error:
        last = traceback.format_exception_only(error)[-1].strip()
        frames = traceback.extract_tb(error.__traceback__)
        return _failure(
            line, f"traceback: {last[:300]} at {frames[-1].filename}:{frames[-1].lineno}"
        )
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    seconds = time.process_time() - began
    printed = out.getvalue() + err.getvalue()
    longest = max(map(len, printed.splitlines()), default=0)
    wrong = [
        *([f"exit code {code}"] if code not in (0, 2) else []),
        *([f"{seconds:.1f} s"] if seconds > SECONDS else []),
        *(["nothing is said"] if code == 2 and not err.getvalue().strip() else []),
        *(["a traceback"] if "Traceback (most" in printed else []),
        *(["a warning"] if "Warning: " in printed else []),
        *(["a raw control character"] if _raw(printed) else []),
        *([f"a line of {longest:,} characters"] if longest > LONGEST else []),
    ]
    return _failure(line, f"{'; '.join(wrong)}: {printed[-400:]!r}") if wrong else None


def _raw(printed: str) -> bool:
    return any(not (letter.isprintable() or letter in "\n\t") for letter in printed)


def _failure(line: Sequence[str], what: str) -> str:
    shown = shlex.join(["dlrun", *(word if len(word) < 200 else f"{word[:9]}..." for word in line)])
    return f"{shown!r}: {what}"


def _hung(number: int, frame: Any) -> None:
    raise _Hangs


def _standard_input() -> Any:
    return patch.object(sys, "stdin", io.StringIO())
