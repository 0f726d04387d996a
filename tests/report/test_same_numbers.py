"""compare, leaderboard, plot and report give the same mean, deviation and n of one folder."""

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run

from dlrun.commands.compare import run as compare
from dlrun.commands.leaderboard import run as leaderboard
from dlrun.commands.ls import run as ls
from dlrun.commands.plot import run as plot
from dlrun.commands.report import run as report

# What counts, by seed: the accuracy of the best weights on test. On val it is .02 more, at the end.
SUPERVISED = {0: 0.81, 1: 0.86, 2: 0.78, 3: 0.84}
BYOL = {0: 0.71, 2: 0.75}
Run = Callable[[list[str]], int]


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    first, second = outputs / "sweeps" / "first", outputs / "sweeps" / "second"

    def make(path: Path, accuracy: float, seed: int, **rest: Any) -> None:
        steps = rest.pop("steps", (100, 200, 300))
        val = [accuracy + 0.02 - 0.1 * left for left in range(len(steps))][::-1]
        make_run(path, accuracy, seed=seed, steps=steps, val=val, **rest)

    for seed, accuracy in SUPERVISED.items():  # seed 3 is shared by a link
        spoken = {"log_every": seed + 1, "checkpoint_every": f"{seed + 1}min"}
        config = {**spoken, "name": f"n{seed}", "outputs": f"o{seed}", "data_dir": f"d{seed}"}
        sweep = first if seed == 3 else second
        make(sweep / f"s{seed}", accuracy, seed, config=config, started=10.0)
    (second / "s3").symlink_to(Path("..") / "first" / "s3")
    (second / "gone").symlink_to(Path("..") / "first" / "gone")
    for seed, accuracy in BYOL.items():
        make(second / f"b{seed}", accuracy, seed, config={"method.name": "byol"})
    # What does not count: a seed again, before and after, and every other state, with or without a
    # summary that an earlier, shorter training has left.
    make(second / "earlier", 0.11, 0, started=5.0)
    make(second / "again", 0.12, 0, started=20.0, state="failed", steps=(100, 200))
    make(second / "cut_off", 0.13, 5, state="interrupted", steps=(100,))
    make(second / "pruned", 0.14, 6, state="pruned", steps=(100, 200))
    make(second / "running", 0.99, 7, state="running", steps=(100, 150, 180))
    make_run(second / "failed", None, seed=8, state="failed", steps=(100,), reason="diverged")
    return outputs


def printed(command: Run, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command(["second", *arguments]) == 0
    return capsys.readouterr().out


def expected(shift: float = 0.0) -> dict[str, tuple[float, float, int]]:
    """Mean, deviation and n of each method."""
    numbers = {"supervised": [*SUPERVISED.values()], "byol": [*BYOL.values()]}
    return {
        method: (statistics.mean(values) + shift, statistics.stdev(values), len(values))
        for method, values in numbers.items()
    }


def same(found: tuple[float, float, int], wanted: tuple[float, float, int]) -> bool:
    return found == pytest.approx(wanted, abs=1e-4)


def test_compare(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(compare, capsys, "--json"))
    methods = told["differences"]["method"]
    for measure, shift in (
        ("test/best", 0.0), ("test/last", -0.01), ("val/best", 0.02), ("val/last", 0.02),
    ):  # fmt: skip
        for letter, method in methods.items():
            own = told["metrics"][f"{measure}/accuracy"][letter]
            assert same((own["mean"], own["std"], own["n"]), expected(shift)[method]), measure
    text = printed(compare, capsys)
    (line,) = [line for line in text.splitlines() if "test best" in line and " [" not in line]
    for letter, method in methods.items():
        mean, std, n = expected()[method]
        runs = len(told["groups"][letter]["runs"])
        assert f"{mean:.3f} ± {std:.3f}" + (f" ({n})" if n != runs else "") in line
    ignored = re.search("duplicate seed, ignored: (.*)", text)
    assert ignored and sorted(ignored[1].split(", ")) == ["again", "earlier"]


def test_leaderboard(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(printed(leaderboard, capsys, "--json"))
    assert [row["method"] for row in told] == ["supervised", "byol"]
    for row in told:
        test, val = expected()[row["method"]], expected(0.02)[row["method"]]
        assert same((row["mean"], row["std"], row["n"]), test)
        assert same((row["val_mean"], row["val_std"], row["n"]), val)
    text = printed(leaderboard, capsys)
    for method, (mean, std, n) in expected().items():
        (line,) = [line for line in text.splitlines() if f" {method} " in line]
        assert f"{mean:.3f} ± {std:.3f}  {n}  accuracy {mean + 0.02:.3f} ± {std:.3f}" in line


def test_plot(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra dlrun[plot] is not installed")
    printed(plot, capsys, "-o", "curves.html")
    for part in Path("curves.html").read_text().split("<details>")[1:]:
        label = re.search(r"<summary>. method=(\w+) \(n=(\d)\)</summary>", part)
        assert label is not None
        step, mean, std, n = re.findall(r"<td>([^<]*)</td>", part)[-4:]
        assert step == "300" and n == label[2]
        assert same((float(mean), float(std), int(n)), expected(0.02)[label[1]])
    text = printed(plot, capsys)
    for method, (mean, _, n) in expected(0.02).items():
        assert f"method={method} (n={n}): last {mean:.4g}" in text


def test_report(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(report, capsys, "-o", "r.html")
    content = Path("r.html").read_text()
    table = content.partition("the best on val first</caption>")[2].partition("</table>")[0]
    rows = re.findall(r'<th scope="row">\d\. method=(\w+)</th>(.*?)</tr>', table, re.DOTALL)
    assert [method for method, _ in rows] == ["supervised", "byol"]
    for method, row in rows:
        mean, std, n = expected()[method]
        runs, val, best, dots, last = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        assert int(runs.partition(" of ")[0]) == n == dots.count("<circle")
        assert best == f"{mean:.3f} ± {std:.3f}"
        assert val == f"{mean + 0.02:.3f} ± {std:.3f}"
        assert last == f"{mean - 0.01:.3f} ± {std:.3f}"
    data = json.loads(content.partition('id="data">')[2].partition("</script>")[0])
    assert data["charts"][0]["name"] == "accuracy"
    for series in data["charts"][0]["series"]:
        label = data["groups"][series["group"]]["label"]
        end = series["mean"][-1], series["std"][-1], series["n"]
        assert same(end, expected(0.02)[label.removeprefix("method=")])
        assert series["steps"] == [100, 200, 300]


def test_ls_has_each_run_once(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(ls, capsys, "--json"))
    assert sorted(row["run"] for row in rows) == sorted(
        ["s0", "s1", "s2", "s3", "b0", "b2", "earlier", "again", "cut_off", "pruned", "running",
         "failed"]
    )  # fmt: skip
    whole = [row["run"] for row in json.loads(printed(ls, capsys, "first", "--json"))]
    assert len(whole) == len(set(whole)) == 12
