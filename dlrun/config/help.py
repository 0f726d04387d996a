"""`dlrun train --help`: the groups, their options and every key, read off conf/ itself."""

import re
import shutil
import textwrap
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose

from dlrun.config.compose import PRIMARY, config_source, explain, group_options
from dlrun.config.typed import flatten, show
from dlrun.errors import ConfigError

_INTRODUCTION = """\
dlrun train [group=option ...] [key=value ...]

Trains one run and keeps it in a folder of its own below outputs/. With -m, values separated by
commas make a sweep of every combination.

  dlrun train                                      the default: vae on fashion_mini
  dlrun train method=supervised model=mlp epochs=5
  dlrun train method=byol dataset=cifar10 hardware=gpu_amp
  dlrun train dataset=image_folder dataset.root=~/pictures
  dlrun train -m method=vae loss=bce,mse seed=0,1,2
  dlrun train method=byol --help                   the keys of that method
  dlrun train method=byol --cfg job                the whole config as YAML

Your own method, model, loss or data set: a class in my_file.py and `name: my_file:MyClass` in
./conf/method/mine.yaml, then method=mine."""


def train_help(overrides: list[str], config_dir: str | None) -> str:
    """Everything, for the groups that `overrides` choose."""
    width = min(110, shutil.get_terminal_size((100, 24)).columns)
    lines = [_INTRODUCTION, "", "Groups:"]
    with config_source(config_dir) as loader:
        options = group_options(loader)
        try:
            config = compose(PRIMARY, overrides=overrides, return_hydra_config=True)
        except Exception as error:
            raise ConfigError(explain(loader, overrides, error)) from None
    chosen = {str(group): str(option) for group, option in config.hydra.runtime.choices.items()}
    for group, names in options.items():
        for number, name in enumerate(names):
            text = _read(group, name, config_dir)
            mark = "*" if chosen.get(group) == name else " "
            head = f"  {group if number == 0 else '':<10} {mark} {name:<18} "
            lines += textwrap.wrap(
                _summary(text), width, initial_indent=head, subsequent_indent=" " * len(head)
            ) or [head]
    lines += ["", "Keys, for the options marked * :"]
    values: dict[str, Any] = {}
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    values = flatten({str(k): v for k, v in plain.items()})
    comments = _comments(chosen, config_dir)
    for key, value in values.items():
        if key.endswith(".name"):
            continue
        head = f"  {key}={show(value)}"
        comment = comments.get(key, "")
        if comment:
            head = f"{head:<44} "
            lines += textwrap.wrap(comment, width, initial_indent=head, subsequent_indent=" " * 45)
        else:
            lines.append(head)
    return "\n".join(lines)


def _read(group: str, option: str, config_dir: str | None) -> str:
    packaged = files("dlrun.conf") / group / f"{option}.yaml"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    own = Path(config_dir or ".") / group / f"{option}.yaml"
    return own.read_text(encoding="utf-8") if own.is_file() else ""


def _summary(text: str) -> str:
    """The first comment that is no directive of Hydra's."""
    for line in text.splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ")
    return ""


def _comments(chosen: dict[str, str], config_dir: str | None) -> dict[str, str]:
    """`key: value  # comment` of every chosen file, by the key's full name."""
    found = _comments_in((files("dlrun.conf") / "train.yaml").read_text(encoding="utf-8"), "")
    for group, option in chosen.items():
        if "/" in group or option == "None":
            continue
        group, _, package = group.partition("@")
        text = _read(group, option, config_dir)
        prefix = "" if "@package _global_" in text else f"{package or group}."
        for parent in re.findall(r"^  - (\w+)$", text, flags=re.MULTILINE):
            if parent != "_self_":
                found |= _comments_in(_read(group, parent, config_dir), prefix)
        found |= _comments_in(text, prefix)
    return found


def _comments_in(text: str, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        match = re.match(r"(\s*)([\w]+):([^#]*)(?:#\s*(.*))?$", line)
        if not match:
            continue
        indent, key, value, comment = match.groups()
        if not indent:
            section = "" if value.strip() else f"{key}."
        name = f"{prefix}{section if indent else ''}{key}"
        if comment:
            found[name] = comment
    return found
