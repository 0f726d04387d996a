"""The machine is not as dlrun would have it: streams, environment, locks, disks, names, signals.

Each trial is one verb in a real process under one fault. It holds where the exit code is the right
one, what is said is short and without a traceback, each run says how it stands, and no file is half
written.
"""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

TINY = (
    "method=supervised", "model=mlp", "model.hidden=[8]", "dataset=image_folder",
    "dataset.root=images", "dataset.size=8", "batch_size=8", "hardware.threads=1", "log_every=1",
)  # fmt: skip
ONE = (*TINY, "hardware=cpu")
DDP = (*TINY, "hardware=ddp", "hardware.devices=2", "hardware.device=cpu")
VERBS: dict[str, tuple[str, ...]] = {
    "train": ("train", *ONE, "steps=3"),
    "sweep": ("train", "-m", *ONE, "steps=3", "seed=1,2", "sweep.jobs=2"),
    "ddp": ("train", *DDP, "hardware.precision=fp32", "steps=3"),
    "resume": ("resume", "last"),
    "ls": ("ls",),
    "show": ("show", "last"),
    "compare": ("compare", "last", "last"),
    "leaderboard": ("leaderboard",),
    "report": ("report", "last", "-o", "page.html"),
    "rm": ("rm", "last", "--yes"),
    "predict": ("predict", "last", "images", "-o", "rows.csv"),
    "evaluate": ("evaluate", "last"),
    "doctor": ("doctor",),
    "help": ("--help",),
}
TRAINING = ("train", "sweep", "ddp")
SHOWING = ("ls", "show", "compare", "leaderboard", "help")
OURS = ("Traceback", "site-packages", "Error:", "Warning:", "core dumped")
"""What no message to a user contains."""
MOST_LINES = 5
"""On standard error; a sweep has one for each job as well."""


@dataclass(frozen=True)
class Fault:
    """What is wrong, as a script of bash in which "$@" is the command.

    Attributes:
        name: in words.
        script: run in a folder with images/ and outputs/, which has one run.
        verbs: that can meet it.
        codes: exit codes that are right.
        extra: further arguments.
        says: what standard error or output must contain.
        states: of new runs.
    """

    name: str
    script: str = '"$@"'
    verbs: tuple[str, ...] = tuple(VERBS)
    codes: tuple[int, ...] = (0,)
    extra: tuple[str, ...] = ()
    says: str = ""
    states: tuple[str, ...] = ("completed",)
    env: dict[str, str] = field(default_factory=dict)


def _env(*settings: str) -> list[Fault]:
    return [Fault(setting, f'env {setting} "$@"') for setting in settings]


def _mounted(command: str) -> str:
    """In a name space of one's own, as root there."""
    return f"""unshare -rm bash -c '{command} && exec "$@"' -- "$@\""""


def _patched(python: str) -> str:
    """With a function of Python's replaced in every process."""
    code = shlex.quote(python)
    return f'mkdir site; echo {code} > site/sitecustomize.py; PYTHONPATH=$PWD/site "$@"'


def _while_training(then: str) -> str:
    """Once the new run has logged, `then`; $run is its folder, $p the process."""
    return (
        '"$@" & p=$!; while kill -0 $p 2>/dev/null; do for f in new/*/*/*/metrics.jsonl; do '
        '[ -s "$f" ] && break 2; done; sleep .05; done; run=$(dirname "$f"); '
        f"{then}; wait $p"
    )


def _during(name: str, then: str, **options: Any) -> Fault:
    return Fault(name, _while_training(then), ("train",), **options)


_NEW = ("outputs=new",)
_ENDLESS = (*_NEW, "epochs=1000000", "checkpoint_every=20", "eval_every=100000000")
_STOPPED: dict[str, Any] = {"extra": _ENDLESS, "states": ("interrupted",)}
_NO_FLOCK = """
import fcntl
def flock(*given): raise OSError({}, "no locks here")
fcntl.flock = flock
"""
_READ_ONLY = _mounted("mount --bind outputs outputs && mount -o remount,ro,bind outputs")


def _disk(size: int) -> str:
    """A disk of so many kB at new/."""
    return "mkdir new; " + _mounted(f"mount -t tmpfs -o size={size}k t new")


FAULTS: list[Fault] = [
    Fault("nothing"),
    # Standard input, output and error.
    Fault("stdin closed", '"$@" <&-'),
    Fault("stdout closed", '"$@" >&-'),
    Fault("stderr closed", '"$@" 2>&-'),
    Fault("all closed", '"$@" <&- >&- 2>&-'),
    Fault("reader goes away", '"$@" | head -1; exit ${PIPESTATUS[0]}'),
    Fault("reader is gone", '"$@" | true; exit ${PIPESTATUS[0]}'),
    Fault("both readers are gone", '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'),
    Fault("stdout full", '"$@" > /dev/full', TRAINING),
    Fault("stdout full, showing", '"$@" > /dev/full', SHOWING, (1,), says="No space left"),
    Fault("stderr full", '"$@" 2> /dev/full'),
    *_env(
        "PYTHONIOENCODING=latin-1", "PYTHONIOENCODING=ascii",
        "PYTHONIOENCODING=ascii:surrogateescape",
        "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0", "LC_ALL=POSIX PYTHONUTF8=0",
        "LC_ALL=nowhere.UTF-8", "TERM=dumb", "TERM=", "FORCE_COLOR=1", "NO_COLOR=1", "CI=1",
        "COLUMNS=20", "COLUMNS=1", "COLUMNS=0", "COLUMNS=wide",
    ),
    Fault("TERM=dumb on a terminal", 'TERM=dumb script -qec "$(printf "%q " "$@")" /dev/null'),
    Fault("20 columns", 'script -qec "stty cols 20; $(printf "%q " "$@")" /dev/null'),
    Fault("1 column", 'script -qec "stty cols 1; $(printf "%q " "$@")" /dev/null'),
    # The environment.
    Fault("nothing in the environment", 'env -i PATH=/usr/bin:/bin DLRUN_DATA=$PWD/cache "$@"'),
    Fault("no PATH", 'env -u PATH "$@"'),
    Fault("no HOME", 'env -u HOME "$@"'),
    Fault("no HOME nor cache", 'env -u HOME -u DLRUN_DATA "$@"', env={"XDG_CACHE_HOME": "xdg"}),
    *_env(
        "HOME=/nowhere", "HOME=relative", "TMPDIR=/nowhere", "TMPDIR=/proc",
        "XDG_CACHE_HOME=/proc", "CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES=0",
        "CUDA_VISIBLE_DEVICES=0,1,2,3", "CUDA_VISIBLE_DEVICES=NoDevFiles",
        "CUDA_VISIBLE_DEVICES=GPU-abc", "CUDA_VISIBLE_DEVICES=-1", "RANK=0",
        "WORLD_SIZE=4", "RANK=0 WORLD_SIZE=1", "RANK=0 WORLD_SIZE=4 LOCAL_RANK=0",
        "RANK=3 WORLD_SIZE=4 LOCAL_RANK=3", "RANK=x WORLD_SIZE=y", "LOCAL_RANK=7",
        "MASTER_ADDR=nowhere.invalid", "MASTER_PORT=x",
        "HTTP_PROXY=http://nowhere.invalid:1 HTTPS_PROXY=x http_proxy=x",
        "OMP_NUM_THREADS=0", "OMP_NUM_THREADS=many", "OMP_NUM_THREADS=2,1", "MKL_NUM_THREADS=x",
        "PYTHONWARNINGS=error", "PYTHONOPTIMIZE=2", "PYTHONSAFEPATH=1", "PYTHONDEVMODE=1",
        "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1", "HYDRA_FULL_ERROR=0",
        "GIT_DIR=/nowhere", "GIT_WORK_TREE=/nowhere", "TZ=Nowhere/At_all", "LANG=tr_TR.UTF-8",
        "SOURCE_DATE_EPOCH=1", "DLRUN_DATA=/proc", "DLRUN_DATA=relative", "DLRUN_DATA=",
        "DLRUN_LAUNCHER=1", "TORCH_DISTRIBUTED_DEBUG=DETAIL", "TORCHELASTIC_RUN_ID=left",
        "SLURM_PROCID=0 SLURM_NTASKS=4 SLURM_JOB_ID=1",
    ),
    Fault("a long TMPDIR", 'export TMPDIR=$PWD/$(printf "a%.0s" {1..120}); mkdir $TMPDIR; "$@"'),
    Fault("no name for the user", _mounted("mount --bind /dev/null /etc/passwd"),
          env={"LOGNAME": "", "USER": "", "LNAME": "", "USERNAME": ""}),
    Fault("neither name nor HOME", _mounted("mount --bind /dev/null /etc/passwd && unset HOME")),
    Fault("a host without an address",
          """unshare -r --uts bash -c 'hostname nowhere.invalid && exec "$@"' -- "$@\""""),
    # Locks.
    *(Fault(f"no flock ({name})", _patched(_NO_FLOCK.format(number)))
      for name, number in (("ENOSYS", 38), ("ENOLCK", 37), ("ENOTSUP", 95))),
    # The folder.
    *(
        Fault(f"{name} in the folder", f"echo 'raise SystemExit(\"mine\")' > {name}; \"$@\"")
        for name in ("random.py", "torch.py", "typing.py", "logging.py", "queue.py", "json.py",
                     "multiprocessing.py", "numpy.py", "dlrun.py")
    ),
    Fault("a folder dlrun", 'mkdir dlrun; "$@"'),
    Fault("a folder dlrun with code", 'mkdir dlrun; echo "1/0" > dlrun/__init__.py; "$@"'),
    Fault("a folder that is no UTF-8",
          'd=$(printf "w\\xe9"); mkdir "$d"; mv images outputs "$d"; cd "$d"; "$@"'),
    Fault("a changed file of git that is no UTF-8", (
        'export GIT_CONFIG_GLOBAL=/dev/null; git init -q .; printf "a\\n" > a; git add a; '
        'git -c user.name=a -c user.email=a@b.c commit -qm a; printf "caf\\xe9\\n" > a; "$@"'
    )),
    Fault("a class that is no UTF-8", 'mv images/a "$(printf "images/caf\\xe9")"; "$@"',
          (*TRAINING, *SHOWING)),
    Fault("names that are no UTF-8",
          'for f in images/b/*; do mv "$f" "$f$(printf "\\xe9").png"; done; "$@"'),
    Fault("files from the future", 'find . -exec touch -h -d 2040-01-01 {} +; "$@"'),
    Fault("files from 1970", 'find . -exec touch -h -d @0 {} +; "$@"'),
    Fault("umask 077", 'umask 077; "$@"'),
    Fault("outputs is a link", 'mv outputs elsewhere; ln -s elsewhere outputs; "$@"'),
    Fault("outputs is read-only", _READ_ONLY,
          (*SHOWING, "predict", "report", "evaluate", "doctor")),
    Fault("outputs is read-only, training", _READ_ONLY, TRAINING, (1, 2), says="outputs"),
    Fault("outputs is read-only, --tensorboard", _READ_ONLY, ("evaluate",), (1, 2),
          ("--tensorboard",), says="Read-only file system"),
    Fault("outputs is a file", 'rm -r outputs; touch outputs; "$@"', TRAINING, (1, 2),
          says="outputs"),
    # Limits.
    *(
        Fault(f"{size} kB of disk", _disk(size), TRAINING, (1, 2), _NEW, "No space left",
              ("failed", "interrupted"))
        for size in (4, 16, 28, 40, 52, 64)
    ),
    Fault("small files only", 'ulimit -f 4; "$@"', TRAINING, (0, 1), _NEW,
          states=("completed", "failed", "interrupted")),
    Fault("few open files", 'ulimit -n 24; "$@"', TRAINING, (0, 1), _NEW,
          states=("completed", "failed", "interrupted")),
    Fault("full disk for a page", 'ln -s /dev/full page.html; "$@"', ("report",), (0, 2)),
    Fault("full disk for rows", _disk(4), ("predict", "report"), (2,), ("-o", "new/x.csv"),
          "No space left"),
    # While it trains.
    *(
        _during(name, f"kill -{name} $p", codes=(code,), **_STOPPED)
        for name, code in (("INT", 130), ("TERM", 143), ("HUP", 129))
    ),
    Fault("tee and Ctrl-C", (
        'mkfifo pipe; cat pipe > seen & c=$!; '
        + _while_training("kill -9 $c; kill -INT $p").replace('"$@" &', '"$@" > pipe 2>&1 &')
    ), ("train",), (130,), **_STOPPED),
    *(
        _during(name, then, codes=(1,), extra=_ENDLESS, says="No such file",
                states=("running", "failed"))
        for name, then in (
            ("run removed", 'rm -rf "$run"'), ("outputs removed", "rm -rf new"),
            ("folder of work removed", 'rm -rf "$PWD"'),
        )
    ),
    _during("metrics.jsonl removed", 'rm "$run/metrics.jsonl"', codes=(0, 1),
            extra=(*_NEW, "steps=400"), states=("completed", "failed")),
    _during("config.yaml removed", 'rm "$run/config.yaml"', codes=(0, 1),
            extra=(*_NEW, "steps=400"), states=("completed", "failed")),
    _during("log.txt removed", 'rm "$run/log.txt"', extra=(*_NEW, "steps=400")),
    _during("status.json removed", 'rm "$run/status.json"', extra=(*_NEW, "steps=400")),
    _during("tensorboard removed", 'rm -rf "$run/tensorboard"', codes=(0, 1),
            extra=(*_NEW, "steps=400"), states=("completed", "failed")),
    _during("samples removed", 'rm -rf "$run/samples"', codes=(0, 1),
            extra=(*_NEW, "steps=400"), states=("completed", "failed")),
    _during("checkpoints removed", 'rm -rf "$run/checkpoints"', codes=(1,),
            extra=(*_NEW, "steps=400"), states=("failed",)),
]  # fmt: skip


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    """Faults in random order, each with a random verb that can meet it."""
    base = _base(folder)
    able = [fault for fault in FAULTS if "unshare" not in fault.script or _may_unshare()]
    faults: list[Fault] = []
    met: set[tuple[str, str]] = set()
    while len(met) < size:
        faults = faults or rng.sample(able, len(able))
        fault = faults.pop()
        verb = rng.choice(fault.verbs)
        if (fault.name, verb) in met and size < sum(len(fault.verbs) for fault in able):
            continue
        met.add((fault.name, verb))
        yield trial(base, folder / f"{len(met)}", fault, verb)


def trial(base: Path, folder: Path, fault: Fault, verb: str) -> str | None:
    """What is wrong with one trial; None where nothing is."""
    shutil.copytree(base, folder, symlinks=True)
    command = [sys.executable, "-P", "-m", "dlrun", *VERBS[verb], *fault.extra]
    env = {**os.environ, "DLRUN_DATA": str(folder / "cache"), "PYTHONFAULTHANDLER": ""}
    env.update(fault.env)
    with open(folder / "out", "w+b") as out, open(folder / "err", "w+b") as err:
        process = subprocess.Popen(
            ["bash", "-c", fault.script, "--", *command], cwd=folder, env=env, stdout=out,
            stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(180)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            code = process.wait() and None
        out.seek(0), err.seek(0)
        texts = out.read().decode(errors="replace"), err.read().decode(errors="replace")
    problems = [*_problems(folder, fault, verb, code, *texts)]
    shutil.rmtree(folder, ignore_errors=True)
    if not problems:
        return None
    said = textwrap.shorten(texts[1] or texts[0][-300:], 400)
    return f"{fault.name} | {verb}: {'; '.join(problems)}; it said: {said}"


def _problems(
    folder: Path, fault: Fault, verb: str, code: int | None, out: str, err: str
) -> Iterator[str]:
    if code not in fault.codes:
        yield "it does not end" if code is None else f"exit code {code}"
    for word in OURS:
        if word in out + err:
            yield f"it prints {word}"
    if err.count("\n") > MOST_LINES * (3 if verb == "sweep" else 1):
        yield f"{err.count(chr(10))} lines on standard error"
    if fault.says and fault.says not in out + err:
        yield f"it does not say {fault.says!r}"
    for path in folder.rglob("*.tmp"):
        yield f"{path.name} is left"
    for path in (path for path in folder.rglob("status.json") if path.parent.name != "first"):
        state = json.loads(path.read_text())["state"]
        if state not in fault.states:
            yield f"the run is {state}"
        last = path.with_name("checkpoints") / "last.pt"
        if last.exists() and ZipFile(last).testzip():
            yield "last.pt is damaged"


@cache
def _may_unshare() -> bool:
    """Whether mounts and names of the machine can be one's own, as in few containers."""
    return not subprocess.run(
        ["unshare", "-rm", "true"], capture_output=True, check=False
    ).returncode


@cache
def _base(folder: Path) -> Path:
    """A folder with images and one run, which each trial gets a copy of."""
    from PIL import Image

    base = folder / "base"
    for number in range(24):
        path = base / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (10 * number, 99, 255 - 10 * number)).save(path)
    subprocess.run(
        [sys.executable, "-P", "-m", "dlrun", *VERBS["train"]], cwd=base, check=True,
        capture_output=True, env={**os.environ, "DLRUN_DATA": str(base / "cache")},
    )  # fmt: skip
    (run,) = base.glob("outputs/*/*/*")
    run.rename(run.with_name("first"))
    return base
