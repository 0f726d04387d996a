"""Seeds taken together, and groups side by side."""

import json
import math
import statistics
from pathlib import Path

import pytest
from run_folders import change_json, make_run

from dlrun.commands.compare import run as compare_command
from dlrun.errors import UserError
from dlrun.runs.comparison import compare
from dlrun.runs.groups import by_seed, differences, labelled
from dlrun.runs.run import Run
from dlrun.runs.select import select
from dlrun.text import flatten, letters

ACCURACY = {"cross_entropy": [0.81, 0.84, 0.79, 0.83], "focal": [0.82, 0.88, 0.80, 0.85]}


def make(path: Path, accuracy: float, loss: str, seed: int) -> None:
    val = [accuracy + 0.02, accuracy + 0.01]
    config = {"loss.name": loss, "outputs": f"o{seed}", "name": loss, "log_every": seed + 1}
    make_run(path, accuracy, seed=seed, steps=(2, 4), val=val, config=config, test={"kl/00": 1.0})


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    sweep = tmp_path / "outputs" / "sweeps" / "losses"
    for loss, values in ACCURACY.items():
        for seed, accuracy in enumerate(values):
            make(sweep / f"{loss}{seed}", accuracy, loss, seed)
    return tmp_path / "outputs"


def test_only_seeds_that_both_have_are_paired(outputs: Path) -> None:
    runs = select(["losses", "seed!=0"], outputs).runs
    runs += select(["cross_entropy0"], outputs).runs
    rows = compare(by_seed([run for run in runs if run.name != "focal3"]), ["accuracy"])
    assert [str(row.measure) for row in rows] == [
        "test/best/accuracy", "test/last/accuracy", "val/best/accuracy", "val/last/accuracy",
    ]  # fmt: skip
    for row in rows:
        assert [spread.n for spread in row.groups if spread] == [4, 2]
        assert row.tests[0] is None and row.tests[1] is not None and row.tests[1].n == 2
        assert row.tests[1].difference == pytest.approx((0.04 + 0.01) / 2)


def test_the_same_seed_twice_counts_once_and_the_latest_complete_run_stands(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "old", 0.7, started=1.0),
        make_run(tmp_path / "new", 0.8, started=2.0, config={"name": "again"}),
        make_run(tmp_path / "failed", None, started=3.0, state="failed"),
        make_run(tmp_path / "other", 0.9, started=1.0, seed=1),
    ]
    (group,) = by_seed([Run(path) for path in runs])
    assert [run.name for run in group.runs] == ["new", "other"]
    assert {run.name for run in group.duplicates} == {"old", "failed"}


def test_seeds_that_saw_other_data_are_not_taken_together(tmp_path: Path) -> None:
    for seed, checksum in enumerate(("abc123456789", "abc123456789", "def0", None)):
        make(tmp_path / f"r{seed}", 0.5, "focal", seed)
        change_json(tmp_path / f"r{seed}" / "provenance.json", data={"checksum": checksum})
    runs = [Run(path) for path in sorted(tmp_path.iterdir())]
    groups = labelled(by_seed(runs))
    assert [group.seeds for group in groups] == [[0, 1], [2], [3]]
    assert groups[0].label == "dataset.checksum=abc12345"
    one = by_seed([runs[0], runs[1], runs[3]])  # who has recorded none has seen no other data
    assert [group.seeds for group in one] == [[0, 1, 3]]
    assert "dataset.checksum" not in one[0].config


def test_runs_with_a_config_that_cannot_be_read_are_never_taken_together(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name, seed=i) for i, name in enumerate("ab")]
    for path in paths:
        (path / "config.yaml").write_text("a: [")
    assert len(by_seed([Run(path) for path in paths])) == 2


def test_differences_name_what_differs_and_nothing_else() -> None:
    one = {"method": {"name": "vae", "latent": 2}, "model": {"name": "mlp", "hidden": 9}, "lr": 0.1}
    two = {"method": {"name": "vae", "latent": 4}, "model": {"name": "cnn", "width": 3}, "lr": 0.1}
    assert differences([flatten(one), flatten(two)]) == {
        "method.latent": ["2", "4"], "model": ["mlp", "cnn"],
    }  # fmt: skip
    assert differences([{"a": 1}, {"a": 1, "b": [1, 2]}]) == {"b": ["-", "[1, 2]"]}
    assert differences([{"a": "x" * 90}, {"a": 1}])["a"][0] == "x" * 37 + "..."
    assert differences([one]) == {}


def test_labels_are_the_fewest_keys_that_tell_groups_apart(tmp_path: Path) -> None:
    for i, (model, lr, epochs) in enumerate((("cnn", 0.1, 3), ("cnn", 0.2, 4), ("mlp", 0.1, 5))):
        make_run(tmp_path / f"r{i}", lr=lr, config={"model.name": model, "epochs": epochs})
    groups = by_seed([Run(path) for path in sorted(tmp_path.iterdir())])
    assert [group.label for group in labelled(groups)] == [
        "model=cnn, optimizer.lr=0.1", "model=cnn, optimizer.lr=0.2", "model=mlp, optimizer.lr=0.1",
    ]  # fmt: skip
    assert labelled(groups[:1])[0].label == "r0"
    assert letters(3) == ["A", "B", "C"]
    assert letters(28)[-3:] == ["Z", "AA", "AB"]


def test_a_metric_that_no_run_has(outputs: Path) -> None:
    groups = by_seed(select(["losses"], outputs).runs)
    with pytest.raises(UserError, match="Did you mean accuracy"):
        compare(groups, ["acuracy"])


def test_json_and_the_tables_say_the_same(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare_command(["losses", "--outputs", str(outputs), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["differences"] == {"loss": {"A": "cross_entropy", "B": "focal"}}
    best = told["metrics"]["test/best/accuracy"]
    assert math.isclose(best["A"]["mean"], statistics.mean(ACCURACY["cross_entropy"]))
    compare_command(["losses", "--outputs", str(outputs), "--metric", "accuracy"])
    text = capsys.readouterr().out
    assert f"{best['A']['mean']:.3f} ± {best['A']['std']:.3f}" in text
    assert f"{best['B']['against_A']['difference']:+.3f}" in text
    assert f"{best['B']['against_A']['p']:.3f}" in text
    tables = text.partition("\nbest:")[0]
    assert max(map(len, tables.splitlines())) <= 80
    compare_command(["losses", "--outputs", str(outputs), "--csv"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "group,loss,split,which,metric,mean,std,n,low,high,against_A_difference"
    )
    assert len(lines) == 1 + 2 * 4


def test_what_is_not_complete_is_not_counted_and_is_named(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = outputs / "sweeps" / "losses" / "focal3"
    (cut / "summary.json").unlink()
    change_json(cut / "status.json", state="interrupted", step=3)
    compare_command(["losses", "--outputs", str(outputs), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["groups"]["B"]["incomplete"] == [str(cut)]
    for which, shift in (("best", 0.02), ("last", 0.01)):
        figure = told["metrics"][f"val/{which}/accuracy"]["B"]
        assert (figure["n"], figure["against_A"]["n"]) == (3, 3)
        assert figure["mean"] == pytest.approx(statistics.mean(ACCURACY["focal"][:3]) + shift)
    compare_command(["losses", "--outputs", str(outputs)])
    text = capsys.readouterr().out
    assert "B: not complete, not counted: focal3 interrupted at step 3" in text
    assert "± 0.042 (3)" in text


def test_equal_differences_are_no_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for loss, shift in (("a", 0.0), ("b", 0.03)):
        for seed, accuracy in enumerate((0.81, 0.79)):
            folder = tmp_path / "outputs" / "sweeps" / "s" / f"{loss}{seed}"
            make(folder, accuracy + shift, loss, seed)
    compare_command(["s", "--outputs", str(tmp_path / "outputs"), "--json"])
    text = capsys.readouterr().out
    assert "Infinity" not in text
    test = json.loads(text)["metrics"]["test/best/accuracy"]["B"]["against_A"]
    assert test.pop("difference") == pytest.approx(0.03)
    assert test == {"low": None, "high": None, "t": None, "p": None, "n": 2}
    compare_command(["s", "--outputs", str(tmp_path / "outputs")])
    text = capsys.readouterr().out
    assert "<.001" not in text
    assert "p is not defined (-): the difference is the same for all shared seeds" in text
