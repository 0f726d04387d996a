"""Damaged, huge, hostile and foreign files in a run's folder, met by the verbs that read it.

Each trial damages one file of a run and calls one verb on it, beside a run that is whole. It holds
if the verb ends in time with exit code 0, 1 or 2, says in a line what is wrong and shows the rest,
prints nothing raw, runs no code, and loads nothing that is wrong without a word.
"""

import contextlib
import io
import json
import logging
import os
import pickle
import random
import resource
import shutil
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from halves import OPTIONS, images, train_until
from project import assert_same

from dlrun.cli import run
from dlrun.exit import run_and_exit
from dlrun.training import checkpoint

_CPU, _WALL = 5.0, 60.0  # seconds; a pipe that is waited for uses no processor
_MEMORY = 12 * 2**30  # bytes of address space
_HOSTILE = "\x1b[31m<script>canary()</script>\r\n\x9b2J"
_ODD: list[Any] = [
    None, True, -1, 0, 3, 0.5, 10**400, 2**63, 1e308, -1e308, float("nan"), float("inf"), "", "x",
    _HOSTILE, "x" * 100_000, [], {}, [1, "a"], [[], [[]]], {"a": {"b": None}}, {"name": "nosuch"},
    {"name": "os:system"},
]  # fmt: skip
_VERBS = ("ls", "show", "compare", "report", "resume", "predict", "evaluate", "gc", "leaderboard")
_OF_ALL = ("ls", "compare", "report", "leaderboard")
_FILES = [
    "config.yaml", ".config.json", "status.json", "summary.json", "provenance.json",
    "metrics.jsonl", "command.txt", "log.txt", "checkpoints/last.pt", "checkpoints/best.pt",
]  # fmt: skip


class _Late(BaseException):
    pass


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    here = Path.cwd()
    memory = resource.getrlimit(resource.RLIMIT_AS)
    logger = logging.getLogger("dlrun")
    handlers, propagate = logger.handlers, logger.propagate
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, memory[1]))
    data = patch.dict(os.environ, {"DLRUN_DATA": str(folder / "cache")})
    data.start()
    try:
        os.chdir(folder)
        whole, half, others = _runs(folder)
        _call(_words("evaluate", whole))  # decodes the images
        expected = {
            verb: _call(_words(verb, run))[1].splitlines()
            for verb, run in (("predict", whole), ("evaluate", whole))
        }
        os.chdir(folder)
        shutil.copytree("outputs", "resumed")
        half_of_copy = Path("resumed") / half.relative_to("outputs")
        assert _call(["resume", str(half_of_copy)])[0] == 0
        ended = checkpoint.load(half_of_copy / "checkpoints" / "last.pt")
        for number in range(size):
            verb, name = rng.choice(_VERBS), rng.choice(_FILES)
            place = folder / f"{number}"
            place.mkdir()
            os.symlink(folder / "d", place / "d")
            shutil.copytree(folder / "outputs", place / "outputs")
            os.chdir(place)
            target = half if verb == "resume" else rng.choice((whole, half))
            how = _damage(rng, target / name)
            code, out, problem = _checked(verb, target, name, others)
            result = [line for line in out.splitlines() if not line.startswith("dlrun:")]
            is_healthy = target != whole or result == expected.get(verb, result)
            if not problem and code == 0 and not is_healthy:
                problem = f"loaded in silence: {out[:300]!r}"
            if not problem and code == 0 and verb == "resume":
                problem = _differs(ended, target)
            os.chdir(folder)
            shutil.rmtree(place)
            tried = f"trial {number}: {verb}, {name} of the {target.name} run: {how}"
            yield f"{tried}: {problem}" if problem else None
    finally:
        os.chdir(here)
        data.stop()
        resource.setrlimit(resource.RLIMIT_AS, memory)
        logger.handlers, logger.propagate = handlers, propagate
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _runs(folder: Path) -> tuple[Path, Path, str]:
    """A complete run, one that was stopped, and the name of another complete one."""
    images(folder)
    names = []
    for seed, name in enumerate(("whole", "other")):
        assert _call(["train", *OPTIONS, f"seed={seed}", f"name={name}"])[0] == 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        train_until(5, None, "name=half", "seed=2")
    paths = [next(Path("outputs").rglob(f"*-{name}")) for name in ("whole", "half", "other")]
    names = [path.rename(path.with_name(path.name.split("-")[-1])) for path in paths]
    return names[0], names[1], names[2].name


def _words(verb: str, target: Path) -> list[str]:
    more = {
        "ls": [], "compare": ["outputs"], "leaderboard": [], "gc": ["--yes"],
        "report": ["outputs", "-o", "r.html"],
        "predict": [str(target), "d/a/00.png"], "evaluate": [str(target)],
    }  # fmt: skip
    return [verb, *more.get(verb, [str(target)])]


def _checked(verb: str, target: Path, name: str, other: str) -> tuple[Any, str, str]:
    """The exit code, what was printed, and what was wrong with it."""
    code, out = _call(_words(verb, target))
    if code not in (0, 1, 2):
        return code, out, f"{code}: {out[-1500:]}"
    raw = [c for c in out if not c.isprintable() and c not in "\n\t"]
    lines = [line for line in out.splitlines() if line.startswith("dlrun:")]
    if raw:
        return code, out, f"raw on the screen: {raw[:5]} in {out[:300]!r}"
    if Path("canary").exists():
        return code, out, "code was run"
    if code and (len(lines) != 1 or len(lines[0]) > 1500):
        return code, out, f"no single line: {out[:1500]!r}"
    named = "config.yaml" if name == ".config.json" else Path(name).name  # its copy
    if code and verb not in _OF_ALL and named not in out:
        return code, out, f"the file is not named: {out[:500]!r}"
    if verb in _OF_ALL and code:
        return code, out, f"does not go on with the rest: {out[:500]!r}"
    if verb == "report":
        page = Path("r.html").read_text("utf-8")
        if "<script>canary" in page or other not in page:
            return code, out, "the report has raw HTML, or lacks the other run"
    elif verb == "ls" and other not in out:
        return code, out, f"the other run is not shown: {out[:500]!r}"
    return code, out, ""


def _differs(ended: dict[str, Any], target: Path) -> str:
    """Whether a run that was resumed has other weights than it should have."""
    try:
        assert_same(ended["method"], checkpoint.load(target / "checkpoints" / "last.pt")["method"])
    except AssertionError as error:
        return f"resumed in silence to other weights: {error}"
    return ""


def _call(words: list[str]) -> tuple[Any, str]:
    """`dlrun WORDS` in this process: its exit code, or the error that came out, and its output."""
    logger, out = logging.getLogger("dlrun"), io.StringIO()
    logger.handlers, logger.propagate = [], True

    def late(number: int, frame: object) -> None:
        raise _Late

    signal.signal(signal.SIGPROF, late)
    signal.signal(signal.SIGALRM, late)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            warnings.catch_warnings(),
        ):
            signal.setitimer(signal.ITIMER_PROF, _CPU)
            signal.setitimer(signal.ITIMER_REAL, _WALL)
            run_and_exit(lambda: run(words))
    except SystemExit as ended:
        return ended.code, out.getvalue()
    except _Late:
        return "hangs", out.getvalue()
    except BaseException as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        at = where and f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
        return f"traceback, {type(error).__name__} at {at}: {str(error)[:300]!r}", out.getvalue()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _damage(rng: random.Random, path: Path) -> str:
    """Damages the file; says how."""
    inner: Callable[[random.Random, Path], str] | None = None
    if path.suffix == ".pt":
        inner = _rewrite_checkpoint
    elif path.suffix in (".json", ".yaml", ".jsonl"):
        inner = _rewrite_values
    if inner is not None and path.exists() and rng.random() < 0.6:
        return inner(rng, path)
    kinds: dict[str, Callable[[], object]] = {
        "removed": lambda: None,
        "empty": lambda: path.write_bytes(b""),
        "cut off": lambda: path.write_bytes(content[: rng.randrange(len(content) + 1)]),
        "a byte": lambda: path.write_bytes(_flipped(rng, content)),
        "text": lambda: path.write_text(f"{_HOSTILE}\n"),
        "noise": lambda: path.write_bytes(rng.randbytes(1000)),
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a device": lambda: path.symlink_to("/dev/zero"),
        "a loop": lambda: path.symlink_to(path),
        "huge": lambda: path.write_bytes(content + b"#" + b" " * 40_000_000),
        "deep": lambda: path.write_bytes(b"[" * 100_000),
        "deep and whole": lambda: path.write_bytes(b'{"a":' * 500 + b"1" + b"}" * 500),
        "aliases": lambda: path.write_text(_aliases()),
        "code": lambda: path.write_bytes(_code(path.suffix)),
    }
    content = path.read_bytes() if path.exists() else b""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    kind = rng.choice(list(kinds))
    kinds[kind]()
    return kind


def _flipped(rng: random.Random, content: bytes) -> bytes:
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def _aliases() -> str:
    """A hundred million values in a few lines, as YAML."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 9):
        lines.append(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 10)}]")
    return "\n".join(lines)


class _Canary:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch canary",)


def _code(suffix: str) -> bytes:
    if suffix == ".pt":
        buffer = io.BytesIO()
        torch.save({"format": 1, "method": _Canary()}, buffer)
        return buffer.getvalue()
    return b"method: !!python/object/apply:os.system ['touch canary']\n"


def _place(rng: random.Random, content: Any) -> tuple[Any, Any, str]:
    """A container somewhere within `content`, one of its keys, and their name."""
    inner, name = content, ""
    while True:
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        key = rng.choice(list(keys))
        name += f".{key}"
        below = inner[key]
        if not (isinstance(below, dict | list) and below) or rng.random() < 0.3:
            return inner, key, name
        inner = below


def _rewrite_values(rng: random.Random, path: Path) -> str:
    """Another value for a key of JSON or YAML, or none, or one more."""
    text = path.read_text()
    if path.suffix == ".jsonl":
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        content = json.loads(lines[at])
    else:
        content = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    inner, key, name = _place(rng, content)
    odd = rng.choice(_ODD)
    chance = rng.random()
    if chance < 0.15:
        del inner[key]
        how = f"without {name}"
    elif chance < 0.25 and isinstance(inner, dict):
        inner[_HOSTILE] = odd
        how = f"one more key beside {name}"
    else:
        inner[key] = odd
        how = f"{name} = {str(odd)[:40]!r}"
    if path.suffix == ".jsonl":
        lines[at] = json.dumps(content)
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text(yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content))
    return how


def _rewrite_checkpoint(rng: random.Random, path: Path) -> str:
    """A checkpoint that is sealed as it should be, with something else in it."""
    content = torch.load(path, weights_only=True)
    if rng.random() < 0.1:
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            name = next(member for member in archive.namelist() if member.endswith("data.pkl"))
            archive.writestr(name, pickle.dumps(_Canary(), 2))
        return "two members of one name"
    inner, key, name = _place(rng, content)
    value = inner[key]
    odd: list[Any] = [*_ODD, b"x", {1: 2}, (1, 2), torch.zeros(3), torch.zeros(0)]
    if isinstance(value, torch.Tensor):
        odd = [
            value.double(), value.bool(), value.long(), value.to(torch.complex64), value.half(),
            value * torch.nan, value[None], value.reshape(-1)[:1], None, "x",
            value.to_sparse() if value.ndim else None,
        ]  # fmt: skip
    chosen = rng.choice(odd)
    if rng.random() < 0.1:
        del inner[key]
        how = f"without {name}"
    else:
        inner[key] = chosen
        kind = chosen.dtype if isinstance(chosen, torch.Tensor) else ""
        how = f"{name} = {kind}{' '.join(str(chosen).split())[:40]!r}"
    torch.save(content, path)
    return how
