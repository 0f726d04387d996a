"""Seeds taken together, and groups side by side, against scipy and by hand."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from dlrun.commands.compare import run as compare_command
from dlrun.errors import UserError
from dlrun.files import write_json, write_text
from dlrun.results.comparison import Figure, compare, labels
from dlrun.results.seeds import by_seed, differences
from dlrun.results.select import select
from dlrun.runs.record import read_record
from dlrun.text import flatten

BASE = {"method": {"name": "supervised", "l2": 0.0}, "dataset": {"name": "d"}, "outputs": "o"}
ACCURACY = {"cross_entropy": [0.81, 0.84, 0.79, 0.83], "focal": [0.82, 0.88, 0.80, 0.85]}


def make_run(
    parent: Path, name: str, plain: dict[str, Any], accuracy: float | None, started: float = 1.0
) -> Path:
    path = parent / name
    path.mkdir(parents=True)
    write_text(path / "config.yaml", json.dumps({**BASE, **plain}))  # JSON is YAML
    status = {
        "state": "completed" if accuracy is not None else "failed", "step": 4, "total": 4,
        "started": started, "heartbeat": 2.0, "pid": 1, "host": "elsewhere", "reason": "",
    }  # fmt: skip
    write_json(path / "status.json", status)
    if accuracy is not None:
        last = {"accuracy": accuracy - 0.01, "kl/00": 1.0}
        summary = {
            "key_metric": "accuracy", "best": {"step": 2, "val": accuracy + 0.02},
            "test": {"best": {"accuracy": accuracy}, "last": last, "untrained": {"accuracy": 0.1}},
        }  # fmt: skip
        write_json(path / "summary.json", summary)
        lines = [
            {"step": 2, "time": 1.0, "train/loss": 0.5},
            {"step": 2, "time": 1.1, "val/accuracy": accuracy + 0.02},
            {"step": 4, "time": 2.0, "val/accuracy": accuracy + 0.01},
        ]
        write_text(path / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    sweep = tmp_path / "outputs" / "sweeps" / "losses"
    for loss, values in ACCURACY.items():
        for seed, accuracy in enumerate(values):
            plain = {"loss": {"name": loss}, "seed": seed, "outputs": f"o{seed}", "name": loss}
            make_run(sweep, f"{loss}{seed}", plain, accuracy)
    return tmp_path / "outputs"


def test_mean_deviation_and_the_paired_test_are_scipys(outputs: Path) -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle here")
    runs, _ = select(["losses"], outputs)
    groups = by_seed(runs)
    assert [group.seeds for group in groups] == [[0, 1, 2, 3], [0, 1, 2, 3]]
    rows = {row.figure: row for row in compare(groups)}
    a, b = ACCURACY.values()
    for figure, shift in (
        (Figure("test", "best", "accuracy"), 0.0),
        (Figure("test", "last", "accuracy"), -0.01),
        (Figure("val", "best", "accuracy"), 0.02),
        (Figure("val", "last", "accuracy"), 0.01),
    ):
        row = rows[figure]
        for told, values in zip(row.groups, (a, b), strict=True):
            assert told is not None and told.n == 4
            assert told.mean == pytest.approx(statistics.mean(values) + shift)
            assert told.std == pytest.approx(statistics.stdev(values))
        theirs = scipy_stats.ttest_rel(b, a)
        low, high = theirs.confidence_interval(0.95)
        test = row.tests[1]
        assert row.tests[0] is None and test is not None
        found = (test.t, test.p, test.low, test.high)
        assert found == pytest.approx((theirs.statistic, theirs.pvalue, low, high), rel=1e-6)
    assert list(rows)[:2] == [
        Figure("test", "best", "accuracy"),
        Figure("test", "last", "accuracy"),
    ]


def test_only_seeds_that_both_have_are_paired(outputs: Path) -> None:
    runs, _ = select(["losses", "seed!=0"], outputs)
    runs += select(["cross_entropy0"], outputs)[0]
    runs = [run for run in runs if run.name != "focal3"]
    row = compare(by_seed(runs), ["accuracy"])[0]
    assert [told.n for told in row.groups if told] == [4, 2]
    assert row.tests[1] is not None and row.tests[1].n == 2
    assert row.tests[1].difference == pytest.approx((0.04 + 0.01) / 2)


def test_the_same_seed_twice_counts_once_and_the_latest_complete_run_stands(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "old", {"seed": 0}, 0.7, started=1.0),
        make_run(tmp_path, "new", {"seed": 0, "name": "again"}, 0.8, started=2.0),
        make_run(tmp_path, "failed", {"seed": 0}, None, started=3.0),
        make_run(tmp_path, "other", {"seed": 1}, 0.9, started=1.0),
    ]
    (group,) = by_seed([read_record(path) for path in runs])
    assert [run.name for run in group.runs] == ["new", "other"]
    assert {run.name for run in group.doubles} == {"old", "failed"}


def test_runs_with_a_config_that_cannot_be_read_are_never_taken_together(tmp_path: Path) -> None:
    paths = [make_run(tmp_path, name, {"seed": i}, 0.5) for i, name in enumerate("ab")]
    for path in paths:
        (path / "config.yaml").write_text("a: [")
    assert len(by_seed([read_record(path) for path in paths])) == 2


def test_differences_name_what_differs_and_nothing_else() -> None:
    one = {"method": {"name": "vae", "latent": 2}, "model": {"name": "mlp", "hidden": 9}, "lr": 0.1}
    two = {"method": {"name": "vae", "latent": 4}, "model": {"name": "cnn", "width": 3}, "lr": 0.1}
    assert differences([flatten(one), flatten(two)]) == {
        "method.latent": ["2", "4"], "model": ["mlp", "cnn"],
    }  # fmt: skip
    assert differences([{"a": 1}, {"a": 1, "b": [1, 2]}]) == {"b": ["-", "[1, 2]"]}
    assert differences([{"a": "x" * 90}, {"a": 1}])["a"][0] == "x" * 37 + "..."
    assert differences([one]) == {}


def test_labels() -> None:
    assert labels(3) == ["A", "B", "C"]
    assert labels(28)[-3:] == ["Z", "AA", "AB"]


def test_select_takes_runs_sweeps_and_filters(outputs: Path) -> None:
    def names(*given: str) -> list[str]:
        return [run.name for run in select(given, outputs)[0]]

    assert names("focal1") == ["focal1"]
    assert names("focal1", str(outputs / "sweeps"), "seed=1") == ["focal1", "cross_entropy1"]
    assert sorted(names("loss=focal")) == ["focal0", "focal1", "focal2", "focal3"]
    with pytest.raises(UserError, match="no run of that name"):
        select(["nothing"], outputs)
    with pytest.raises(UserError, match=r"no run with seed=9; seed is 0, 1, 2, 3"):
        select(["losses", "seed=9"], outputs)
    with pytest.raises(UserError, match="Did you mean accuracy"):
        compare(by_seed(select(["losses"], outputs)[0]), ["acuracy"])


def test_json_and_the_tables_say_the_same(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert compare_command(["losses", "--outputs", str(outputs), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["differences"] == {"loss": {"A": "cross_entropy", "B": "focal"}}
    best = told["figures"]["test/best/accuracy"]
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
    assert lines[0].startswith("group,loss,split,which,metric,mean,std,n,against_A_difference")
    assert len(lines) == 1 + 2 * 4


def test_what_is_not_complete_is_in_no_figure_and_is_named(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = outputs / "sweeps" / "losses" / "focal3"
    (cut / "summary.json").unlink()
    status = json.loads((cut / "status.json").read_text())
    write_json(cut / "status.json", status | {"state": "interrupted", "step": 3})
    compare_command(["losses", "--outputs", str(outputs), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["groups"]["B"]["incomplete"] == [str(cut)]
    for which, shift in (("best", 0.02), ("last", 0.01)):
        figure = told["figures"][f"val/{which}/accuracy"]["B"]
        assert (figure["n"], figure["against_A"]["n"]) == (3, 3)
        assert figure["mean"] == pytest.approx(statistics.mean(ACCURACY["focal"][:3]) + shift)
    compare_command(["losses", "--outputs", str(outputs)])
    text = capsys.readouterr().out
    assert "B: not complete, in no figure: focal3 interrupted at step 3" in text
    assert "± 0.042 (3)" in text


def test_equal_differences_are_no_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    for loss, shift in (("a", 0.0), ("b", 0.03)):
        for seed, accuracy in enumerate((0.81, 0.79)):
            plain = {"loss": {"name": loss}, "seed": seed}
            make_run(
                tmp_path / "outputs" / "sweeps" / "s", f"{loss}{seed}", plain, accuracy + shift
            )
    compare_command(["s", "--outputs", str(tmp_path / "outputs"), "--json"])
    text = capsys.readouterr().out
    assert "Infinity" not in text
    test = json.loads(text)["figures"]["test/best/accuracy"]["B"]["against_A"]
    assert test.pop("difference") == pytest.approx(0.03)
    assert test == {"low": None, "high": None, "t": None, "p": None, "n": 2}
    compare_command(["s", "--outputs", str(tmp_path / "outputs")])
    text = capsys.readouterr().out
    assert "<.001" not in text
    assert "p -: no test, since the difference is the same for all seeds in common" in text
