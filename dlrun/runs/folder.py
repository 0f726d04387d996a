"""A run is a folder: where each of its files is, and the lock of the process that trains it."""

import json
import os
import secrets
import shlex
import string
import zlib
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.config.signature import is_place
from dlrun.errors import UserError
from dlrun.files import (
    append_text,
    load_json,
    load_plain_yaml,
    peek_json,
    process_lock,
    read_bytes,
    write_text,
)
from dlrun.runs.shapes import CONFIG, PROVENANCE, misfit
from dlrun.text import short

if TYPE_CHECKING:
    from filelock import BaseFileLock

_TRIES = 100
# A process that only looks holds the lock for an instant, so neither gives up at the first try.
_PATIENCE, _LOOK = 0.5, 0.03  # seconds


def _inside(name: str) -> cached_property[Path]:
    """A path in the folder, made when it is first asked for: `dlrun ls` needs few of many runs."""
    return cached_property(lambda folder: folder.path / name)


class RunFolder:
    """The paths of one run."""

    config = _inside("config.yaml")
    parsed = _inside(".config.json")
    commands = _inside("command.txt")
    provenance = _inside("provenance.json")
    status = _inside("status.json")
    metrics = _inside("metrics.jsonl")
    summary = _inside("summary.json")
    log = _inside("log.txt")
    output = _inside("output.txt")
    last = _inside("checkpoints/last.pt")
    best = _inside("checkpoints/best.pt")
    tensorboard = _inside("tensorboard")
    samples = _inside("samples")
    inputs = _inside("inputs")

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _lock(self) -> "BaseFileLock":
        return process_lock(self.path / ".lock", thread_local=False, poll_interval=0.02)

    @property
    def name(self) -> str:
        """The folder's own name, which is the run's."""
        return self.path.name

    def __str__(self) -> str:
        return short(self.path)

    def prepare(self, plain: dict[str, Any]) -> None:
        """Writes the config, once, and makes the sub-folders."""
        for folder in (self.last.parent, self.tensorboard, self.samples):
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob(".*.tmp"):  # of a process that was killed while writing
                unfinished.unlink()
        if not self.config.exists():
            self._write_config(plain)

    def _write_config(self, plain: dict[str, Any]) -> None:
        from omegaconf import OmegaConf

        write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(plain)))
        checksum = zlib.crc32(self.config.read_bytes())
        write_text(self.parsed, json.dumps({"crc32": checksum, "config": plain}))

    def record_places(self, plain: dict[str, Any]) -> None:
        """Writes where things lie now into the config, if it says otherwise."""
        known = self.config_here()
        moved = {key: plain[key] for key in ("dataset", "data_dir") if plain[key] != known.get(key)}
        if moved:
            self._write_config(self.read_config() | moved)

    def read_config(self) -> dict[str, Any]:
        """The config as config.yaml has it.

        YAML takes fifty times as long to read as JSON, so `prepare` keeps a copy in JSON, which
        counts only as long as the checksum in it is that of config.yaml.

        Raises:
            UserError: the folder is not a run, or its config is damaged.
        """
        try:
            text = read_bytes(self.config)
        except FileNotFoundError as error:
            raise UserError(f"{self}: not a run (no config.yaml)") from error
        except (OSError, ValueError) as error:
            raise UserError(f"{self.config}: cannot be read ({reason(error)})") from error
        copy = peek_json(self.parsed)
        known = copy.get("crc32") == zlib.crc32(text) and not misfit(copy.get("config"), CONFIG)
        plain = copy["config"] if known else self._read_yaml()
        if wrong := misfit(plain, CONFIG):
            raise UserError(f"{self.config}: not the config of a run ({wrong})")
        assert isinstance(plain, dict)
        return plain

    def config_here(self) -> dict[str, Any]:
        """`read_config`, with relative paths as they were meant where the run began.

        What does not lie there any more stays relative: then the whole project was moved.

        Raises:
            UserError: as `read_config`.
        """
        plain, began = self.read_config(), self.read_provenance().get("working_folder")
        if began is None or began == os.getcwd():
            return plain

        def placed(key: str, value: Any) -> Any:
            if isinstance(value, dict):
                return {name: placed(f"{key}.{name}", item) for name, item in value.items()}
            if not is_place(key) or not isinstance(value, str) or os.path.isabs(value):
                return value
            return meant if os.path.exists(meant := f"{began}/{value}") else value

        return {key: placed(key, value) for key, value in plain.items()}

    def _read_yaml(self) -> Any:
        try:
            return load_plain_yaml(self.config)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.config}: cannot be read ({reason(error)})") from error

    def read_provenance(self) -> dict[str, Any]:
        """What provenance.json says; {} where there is none.

        Raises:
            UserError: it is damaged.
        """
        try:
            found = load_json(self.provenance)
            wrong = misfit(found, PROVENANCE)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            wrong = reason(error)
        if wrong:
            raise UserError(f"{self.provenance}: cannot be read ({wrong})")
        return found

    def add_command(self, argv: list[str]) -> None:
        """One line for every start and resume."""
        line = f"{datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(argv)}\n"
        append_text(self.commands, line, "surrogateescape")

    def typed_commands(self) -> list[str]:
        """The lines of command.txt: the time of a start in 20 characters, and what was typed."""
        try:
            return read_bytes(self.commands).decode("utf-8", "replace").splitlines()
        except (OSError, ValueError):
            return []

    def identity(self) -> str | None:
        """Which run this is, wherever it was copied to; None before provenance.json is written."""
        return self.read_provenance().get("run")

    def lock(self) -> None:
        """Takes the run for this process until it ends, however it ends.

        Raises:
            UserError: another process has it.
        """
        from filelock import Timeout

        try:
            if not self._lock.is_locked:
                self._lock.acquire(timeout=_PATIENCE)
        except Timeout:
            raise UserError(f"{self}: another process is training this run right now") from None

    def unlock(self) -> None:
        """Gives it back."""
        self._lock.release(force=True)

    def in_use(self) -> bool:
        """Whether a process is training it now; of a folder that is read-only, whether one may."""
        from filelock import Timeout

        if self._lock.is_locked:
            return True
        if not os.path.exists(self._lock.lock_file):
            return False
        try:
            self._lock.acquire(timeout=_LOOK)
        except (Timeout, OSError):
            return True
        self._lock.release()
        return False


def reason(error: OSError | ValueError) -> str:
    """Why a file cannot be read."""
    return str((error.strerror if isinstance(error, OSError) else None) or error)


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
