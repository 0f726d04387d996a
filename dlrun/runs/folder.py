"""A run is a folder: where each thing lies, and whose it is."""

import os
import secrets
import shlex
import string
import time
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dlrun.errors import UserError
from dlrun.runs.files import read_json, write_text

_TRIES = 100
_LOCK_TRIES, _LOCK_PAUSE = 10, 0.02  # seconds


class RunFolder:
    """The paths of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.commands = path / "command.txt"
        self.provenance = path / "provenance.json"
        self.status = path / "status.json"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.log = path / "log.txt"
        self.output = path / "output.txt"
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.tensorboard = path / "tensorboard"
        self.samples = path / "samples"
        self.inputs = path / "inputs"
        self._lock: IO[str] | None = None

    @property
    def name(self) -> str:
        """The folder's own name, which is the run's."""
        return self.path.name

    def __str__(self) -> str:
        try:
            return str(self.path.relative_to(Path.cwd()))
        except ValueError:
            return str(self.path)

    def prepare(self, plain: dict[str, Any]) -> None:
        """Writes the config, once, and makes the sub-folders."""
        for folder in (self.last.parent, self.tensorboard, self.samples):
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob(".*.tmp"):  # of a process that was killed while writing
                unfinished.unlink()
        if not self.config.exists():
            write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(plain)))

    def read_config(self) -> dict[str, Any]:
        """What `prepare` wrote.

        Raises:
            UserError: the folder is no run, or its config was damaged.
        """
        try:
            plain = OmegaConf.to_container(OmegaConf.load(self.config))
        except FileNotFoundError as error:
            raise UserError(f"{self}: no run there (no config.yaml)") from error
        except (OmegaConfBaseException, OSError, ValueError, YAMLError) as error:
            raise UserError(f"{self.config}: not readable as YAML") from error
        if not isinstance(plain, dict) or "method" not in plain:
            raise UserError(f"{self.config}: not the config of a run")
        return {str(key): value for key, value in plain.items()}

    def add_command(self, argv: list[str]) -> None:
        """One line for every start and resume."""
        with open(self.commands, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(argv)}\n")

    def first_command(self) -> str:
        """What was typed when the run began; '' where that was not kept."""
        try:
            lines = self.commands.read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        return lines[0].split(" ", 2)[2] if lines else ""

    def identity(self) -> str | None:
        """Which run this is, wherever it was copied to; None of one that an older dlrun began."""
        found = read_json(self.provenance).get("run")
        return found if isinstance(found, str) else None

    def lock(self) -> None:
        """Takes the run for this process until it ends, however it ends.

        Raises:
            UserError: another process has it.
        """
        if self._lock is not None:
            return
        file = open(self.path / ".lock", "a")  # noqa: SIM115  held open on purpose
        for _ in range(_LOCK_TRIES):  # somebody may be looking, which takes an instant
            if _try_lock(file):
                self._lock = file
                return
            time.sleep(_LOCK_PAUSE)
        file.close()
        raise UserError(f"{self}: another process is training this run right now")

    def unlock(self) -> None:
        """Gives it back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def in_use(self) -> bool:
        """Whether a process on this machine is training it now."""
        if self._lock is not None:
            return True
        try:
            with open(self.path / ".lock") as file:
                return not _try_lock(file, shared=True)
        except OSError:
            return False


def _try_lock(file: IO[str], shared: bool = False) -> bool:
    """The kernel lets go of it when the process dies, so a killed run never stays locked.

    Two processes that only look take it `shared`, and so do not take each other for a training.
    """
    if os.name == "nt":  # there is no flock; two processes are then kept apart by nothing
        return True
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def claim(outputs: Path, dataset: str, method: str, name: str | None) -> RunFolder:
    """A folder of one's own, `outputs/dataset/method/yymmdd-HHMMSS-xxxx` (and `-name`).

    `mkdir` either makes the folder or fails, so of two runs in the same instant one tries again.

    Raises:
        UserError: nothing can be written there.
    """
    parent = outputs / dataset.replace(":", ".") / method.replace(":", ".")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
            own = f"{datetime.now():%y%m%d-%H%M%S}-{letters}" + (f"-{name}" if name else "")
            try:
                (parent / own).mkdir()
            except FileExistsError:
                continue
            return RunFolder((parent / own).absolute())
    except OSError as error:
        raise UserError(f"outputs: cannot write below {parent} ({error.strerror})") from error
    raise UserError(f"outputs: no free name below {parent}")
