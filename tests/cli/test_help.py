"""What the help says, and that it leaves nothing out."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from dlrun import __version__, cli
from dlrun.commands.parsers import VERBS, summary_of
from dlrun.config.compose import compose_plain, composer
from dlrun.config.help import comments, train_help
from dlrun.errors import ConfigError
from dlrun.text import flatten

CONF = Path(str(files("dlrun.conf")))
with composer() as _composer:
    GROUPS = _composer.options


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def keys_told(text: str) -> dict[str, str]:
    """`key` to the comment beside it, of the list of keys."""
    _, _, keys = text.partition("Config keys of the selected options (*):\n")
    told: dict[str, str] = {}
    for line in keys.splitlines():
        match = re.match(r"  ([\w.]+)=(.*?)(?:\s{2,}(.*)|\s)?$", line)
        if match:
            told[match[1]] = match[3] or ""
        else:
            told[next(reversed(told))] += " " + line.strip()
    return {key: comment.strip() for key, comment in told.items()}


def test_usage_has_every_verb_and_the_first_steps() -> None:
    text = cli.usage()
    for verb in VERBS:
        assert f"  dlrun {verb:<12} {summary_of(verb)}\n" in text
    for command in (
        "dlrun train --help",
        "dlrun train -m method=byol,vae seed=0,1",
        "dlrun train method=byol dataset=cifar10",
        "tensorboard --logdir outputs",
    ):
        assert command in text
    assert "Exit codes: 0 done; 1 the run failed; 2 the command or config is wrong" in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"], ["help"]])
def test_usage_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 0
    assert capsys.readouterr().out == cli.usage() + "\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == cli.run(["-V"]) == 0
    assert capsys.readouterr().out == f"dlrun {__version__}\n" * 2


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: dlrun {verb}")
    assert len(text.splitlines()) > 4


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Mapping) else []


class TestTrainHelp:
    def test_lists_every_option_of_every_group_with_a_description(self) -> None:
        text = train_help([], None)
        for group, options in GROUPS.items():
            first = rf"^  {group} +[* ] {options[0]} +\S"
            assert re.search(first, text, flags=re.MULTILINE), group
            for option in options[1:]:
                assert re.search(rf"^ {{12}} [* ] {option} +\S", text, flags=re.MULTILINE), option

    def test_begins_with_the_five_groups(self) -> None:
        text = train_help([], None)
        starts = re.findall(r"^  ([a-z]+) +[* ] \w+ ", text, flags=re.MULTILINE)
        assert sorted(starts) == sorted(GROUPS)
        assert starts[:5] == ["method", "model", "loss", "dataset", "hardware"]

    def test_marks_what_is_chosen(self) -> None:
        text = train_help(["method=byol", "optimizer=adamw"], None)
        marked = re.findall(r"^  [a-z ]{10} \* (\w+)", text, flags=re.MULTILINE)
        assert marked == [
            "byol", "resnet20", "cosine", "fashion_mini", "auto", "adamw", "cosine_warmup", "byol",
            "none",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "overrides",
        [
            ["method=byol", "dataset=image_folder", "optimizer=sgd", "augment=byol"],
            ["method=cyclegan", "model@method.discriminator=patchgan", "schedule=cosine"],
            ["method=multitask", "loss@method.value_loss=huber", "hardware=debug", "loss=focal"],
        ],
    )
    def test_lists_every_key_with_a_comment(self, overrides: list[str]) -> None:
        told = keys_told(train_help(overrides, None))
        keys = {key for key in flatten(compose_plain(overrides, None)) if not key.endswith(".name")}
        sweep = {f"sweep.{key}" for key in ("jobs", "retry", "fail_fast")}
        tune = {
            f"tune.{key}" for key in ("trials", "sampler", "pruner", "objective", "timeout", "seed")
        }
        assert set(told) == keys | sweep | tune
        assert [key for key, comment in told.items() if len(comment) < 10] == []

    @pytest.mark.parametrize("group", [group for group in GROUPS if group != "recipe"])
    def test_no_key_of_any_option_is_without_a_comment(self, group: str) -> None:
        with composer() as own:
            sections = own.sections(group)
            told = {option: comments(own, {group: option}) for option in GROUPS[group]}
        if group == "method":  # they choose other groups too, and so compose to more than a section
            for option in GROUPS[group]:
                section = OmegaConf.load(CONF / group / f"{option}.yaml")[group]
                sections[option] = OmegaConf.to_container(section)  # without interpolation
        assert sorted(sections) == GROUPS[group]
        for option, section in sections.items():
            nested = {key for key, value in section.items() if "name" in _keys(value)}
            for key in flatten(section):
                if key.partition(".")[0] in nested:  # an option of its own, with its own comments
                    continue
                full = f"{group}.{key}".replace(".second.", ".first.")
                assert key == "name" or told[option].get(full), f"{option}: {key}"

    def test_shows_the_values_that_a_run_would_have(self) -> None:
        text = train_help(["method=byol", "optimizer.lr=0.25", "seed=4"], None)
        assert "  optimizer.lr=0.25   " in text
        assert "  seed=4    " in text
        assert f"  epochs={OmegaConf.load(CONF / 'method/byol.yaml').epochs}    " in text
        assert "  dataset.domains=[Sneaker, Ankle boot]  " in text

    def test_shows_the_networks_inside_of_a_method(self) -> None:
        text = train_help(["method=cyclegan"], None)
        line = "  model@method.discriminator=patchgan16 a further model, chosen as model is"
        assert line in text.splitlines()
        assert "@" not in train_help([], None)
        lines = train_help(["method=byol"], None).splitlines()
        assert any(line.startswith("  optimizer@method.probe_optimizer=adam ") for line in lines)

    @pytest.mark.parametrize("columns", ["20", "80", "100", "500"])
    def test_fits_its_terminal(self, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        text = train_help([], None)
        assert max(map(len, text.splitlines())) <= max(100, min(110, int(columns)))
        _, _, lists = text.partition("Groups:")
        assert max(map(len, lists.splitlines())) <= min(110, max(80, int(columns)))

    def test_of_an_own_method(self, tmp_path: Path) -> None:
        (tmp_path / "method").mkdir()
        (tmp_path / "method" / "mine.yaml").write_text(
            "# @package _global_\n# does it my way\ndefaults:\n  - override /model: mlp\n\n"
            "method:\n  name: my_file:Mine\n  size: 3   # of it\n  deep:\n    er: 1  # inside\n"
        )
        text = train_help(["method=mine"], str(tmp_path))
        assert "* mine               does it my way\n" in text
        assert "* mlp" in text
        told = keys_told(text)
        assert (told["method.size"], told["method.deep.er"]) == ("of it", "inside")

    def test_tells_a_mistake(self) -> None:
        with pytest.raises(ConfigError) as caught:
            train_help(["method=byoll", "epoch=3"], None)
        assert len(caught.value.problems) == 2
