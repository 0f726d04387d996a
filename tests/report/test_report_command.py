"""`dlrun report` as a user types it, on a run that was really trained."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from project import METHODS, make_project
from run_folders import make_run, make_sweep

from dlrun.commands.report import run as report
from dlrun.errors import UserError
from dlrun.runs.provenance import command_line

Dlrun = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_trained_run_is_reported(dlrun: Dlrun, tmp_path: Path) -> None:
    make_project(tmp_path)
    options = ("dataset=few", *METHODS["cyclegan"], "steps=4", "eval_every=2", "hardware=cpu")
    trained = dlrun("train", *options, timeout=400)
    assert trained.returncode == 0, trained.stderr
    result = dlrun("report", "last")
    assert result.returncode == 0, result.stderr
    (made,) = tmp_path.rglob("report.html")
    assert result.stdout.startswith(str(made.relative_to(tmp_path)))
    content = made.read_text()
    summary = json.loads((made.parent / "summary.json").read_text())
    assert f"{summary['test']['best']['target_share']:.3f}" in content
    assert f"{summary['test']['trivial']['target_share']:.3f}" in content
    command = (made.parent / "command.txt").read_text().strip()
    assert command.partition(" dlrun ")[2] in content
    provenance = json.loads((made.parent / "provenance.json").read_text())
    assert provenance["data"]["checksum"] in content
    kinds = {path.stem.rpartition("-")[0] for path in (made.parent / "samples").iterdir()}
    assert kinds == {"translations", "views"}
    assert content.count('role="tabpanel"') == len(kinds)
    data = json.loads(content.partition('id="data">')[2].partition("</script>")[0])
    assert data["charts"][0]["name"] == "target_share"
    assert data["charts"][0]["series"][0]["steps"] == [2, 4]


def test_neither_torch_nor_hydra_is_imported(tmp_path: Path) -> None:
    make_sweep(tmp_path / "outputs")
    code = (
        "import sys\nfrom dlrun.cli import run\nrun(['report', 'sizes', '--out', 'r.html'])\n"
        "assert not {'torch', 'hydra', 'torchvision', 'numpy', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("r.html  ")
    assert done.stdout.endswith(", 6 runs\n")


def test_a_mistake_is_an_error_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "outputs" / "a" / "b" / "260101-aaaa", 0.5)
    (tmp_path / "empty").mkdir()
    damaged = make_run(tmp_path / "damaged", 0.5)
    (damaged / "config.yaml").write_text("method: [")
    for arguments, line in (
        ((), "the following arguments are required"),
        (("nothing",), "nor a run or sweep of that name"),
        (("empty",), "no run below"),
        ((str(damaged),), "not YAML"),
        ((str(run), "--out", "empty"), "is a folder"),
        ((str(run), "--out", str(run / "config.yaml" / "x.html")), "cannot be written"),
    ):
        with pytest.raises(UserError, match=line) as error:
            report(list(arguments))
        assert len(str(error.value).splitlines()) == 1


def test_a_sweep_keeps_its_whole_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dlrun train", "-m", "seed=0,1"])
    assert command_line() == ["dlrun", "train", "-m", "seed=0,1"]
    monkeypatch.setattr(sys, "argv", ["/bin/dlrun", "resume", "last"])
    assert command_line() == ["dlrun", "resume", "last"]
