"""The same encoder under other draws: which runs, trained how often, shown how."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from dlrun.config.check import check, to_plain_types
from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig
from dlrun.config.signature import signature
from dlrun.files import write_json
from dlrun.runs.folder import RunFolder
from dlrun.training.companions import control_configs, control_summaries, prepared
from dlrun.views.summary import controls_table


def config(*overrides: str) -> TrainConfig:
    given = ["method=dbvae", "bias=flip", "groups=[flip]", "method.controls=true", *overrides]
    return check(compose_plain(given, None))


def test_controls_differ_in_how_images_are_drawn_and_in_nothing_else() -> None:
    run = config("seed=4", "method.alpha=0.1", "method.latent=7", "name=mine")
    found = control_configs(run)
    assert list(found) == ["none", "attribute", "shuffled"]
    assert run.method.options.balance == ("flip",)  # the groups that are reported
    for role, control in found.items():
        options = control.method.options
        assert options.resampling == role and not options.controls
        assert options.latent == 7
        assert replace(control, method=run.method, name="mine") == run
    assert found["shuffled"].method.options.alpha == 0.1
    assert found["attribute"].method.options.balance == ("flip",)


def test_a_sweep_shares_what_does_not_depend_on_its_alpha() -> None:
    first, second = (control_configs(config(f"method.alpha={a}")) for a in (0.1, 0.001))
    same = {
        role: signature(to_plain_types(first[role])) == signature(to_plain_types(second[role]))
        for role in first
    }
    assert same == {"none": True, "attribute": True, "shuffled": False}


def test_what_is_no_control_of_it() -> None:
    assert list(control_configs(config("groups=null"))) == ["none", "shuffled"]
    assert "none" not in control_configs(config("method.resampling=none"))
    assert control_configs(config("method.controls=false")) == {}
    assert control_configs(check(compose_plain(["method=vae"], None))) == {}


def test_they_are_trained_first_and_once_and_shown_beside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, asked = config(), []

    def train(needed: TrainConfig, folder: RunFolder) -> None:
        asked.append(needed.method.options.resampling)
        numbers = {"accuracy": 0.9, "worst_group_recall": 0.1 * len(asked), "group/a/recall": 1.0}
        write_json(folder.summary, {"test": {"best": numbers, "last": numbers}})
        status = {
            "state": "completed", "step": 1, "total": 1, "started": 0.0, "heartbeat": 0.0,
            "pid": 1, "host": "elsewhere",
        }  # fmt: skip
        write_json(folder.status, status)

    assert control_summaries(run) == {}
    assert prepared(run, train, lambda text: None) == run
    assert prepared(run, train, lambda text: None) == run
    assert asked == ["none", "attribute", "shuffled"]
    others = {role: found["test"]["last"] for role, found in control_summaries(run).items()}
    own = {"accuracy": 0.8, "worst_group_recall": 0.5, "group/a/recall": 1.0}
    console = Console(width=120)
    with console.capture() as captured:
        console.print(controls_table({"test": {"last": own}, "controls": others}))
    told = captured.get()
    assert "this run" in told and "shuffled" in told
    (line,) = [line for line in told.splitlines() if "worst group" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["0.500", "0.100", "0.200", "0.300"]
    assert "group/a" not in told
