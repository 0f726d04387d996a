"""What a run takes from others: which one is meant, and the copy that it keeps."""

import re
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parts import network_of
from torch import Tensor

from dlrun.cli import run
from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.config.typed import to_plain_types
from dlrun.console import Console
from dlrun.data.info import Column, DataInfo, info_of
from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError
from dlrun.files import write_json
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder
from dlrun.runs.select import settle
from dlrun.sweeps.hydra import sweep
from dlrun.training import checkpoint
from dlrun.training.inputs import Inputs

MODEL = {"name": "mlp", "hidden": [4], "batch_norm": True, "init_from": None, "freeze": None}
DATASET = {"name": "fashion_mini", "val_fraction": 0.2}
SHAPE = (1, 3, 3)


def network() -> torch.nn.Module:
    config = lookup("model", "mlp").Config(
        hidden=(4,), batch_norm=True, init_from=None, freeze=None
    )
    return network_of(Choice("mlp", config), SHAPE, 2)


def content(
    step: int = 7, model: dict[str, Any] | None = None, run: str | None = None, **changed: Any
) -> dict[str, Any]:
    """Of a checkpoint, as the loop writes it."""
    torch.manual_seed(step)
    state = {f"encoder.{name}": value for name, value in network().state_dict().items()}
    return {
        "dlrun": "0.0",
        "config": {"method": {"name": "supervised"}, "model": model or MODEL, "dataset": DATASET},
        "data": to_plain_types(DataInfo(SHAPE, ("a", "b"), (0.5,), (0.2,), {}, "of these")),
        "pixels": "standardized", "parts": {"backbone": "encoder.", "head": "heads.label."},
        "inputs": {}, "run": run, "step": step, "seconds": 1.0, "best_value": 0.9,
        "best_step": step, "val": {"accuracy": 0.9}, "val_step": step, "warnings": [],
        "pending": [{"loss": torch.ones(())}],
        "method": state | {"heads.label.weight": torch.ones(2, 4)},
        "optimizers": {"main": {"state": {0: torch.ones(9)}, "param_groups": []}}, "scaler": {},
    } | changed  # fmt: skip


def make_run(
    outputs: Path,
    name: str,
    state: str = "completed",
    best: int | None = 7,
    last: int = 9,
    model: dict[str, Any] | None = None,
) -> RunFolder:
    """A run that has left two checkpoints."""
    folder = RunFolder(outputs / "fashion_mini" / "supervised" / name)
    folder.prepare(content(model=model)["config"])
    write_json(folder.provenance, {"run": name})
    status = {
        "state": state, "step": last, "total": 20, "started": 0.0, "heartbeat": time.time(),
        "pid": 1, "host": "elsewhere",
    }  # fmt: skip
    write_json(folder.status, status)
    checkpoint.save(folder.last, content(last, model, name))
    if best is not None:
        checkpoint.save(folder.best, content(best, model, name))
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Of a new run in `own`, with other runs below `outputs`."""
    (tmp_path / "own").mkdir()
    return Inputs(RunFolder(tmp_path / "own"), tmp_path / "outputs", DATASET)


def save(path: Path, **changed: Any) -> str:
    checkpoint.save(path, content(**changed))
    return str(path)


# --- which one is meant --------------------------------------------------------------------------


def config(*overrides: str) -> Any:
    return check(compose_plain(list(overrides), None))


def settled(outputs: Path, *overrides: str) -> tuple[dict[str, Any], list[str]]:
    """A command line with its references settled, and what is wrong with them."""
    plain = compose_plain([*overrides, f"outputs={outputs}"])
    return plain, settle(plain)


@pytest.mark.parametrize("given", ["last", "new", "new-run", "{folder}"])
def test_a_run_may_be_named_in_many_ways_and_becomes_a_path(tmp_path: Path, given: str) -> None:
    make_run(tmp_path, "old-run")
    folder = make_run(tmp_path, "new-run")
    given = given.replace("{folder}", str(folder.path))
    plain, wrong = settled(
        tmp_path, "method=distill", f"method.teacher={given}", f"model.init_from={given}"
    )
    assert not wrong
    assert plain["method"]["teacher"] == plain["model"]["init_from"] == str(folder.path)
    again = deepcopy(plain)
    assert settle(again) == [] and again == plain  # a path stays what it is


def test_it_is_settled_also_inside_of_a_nested_network(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "run")
    plain, wrong = settled(tmp_path, "method=distill", "method.teacher_model.init_from=last")
    assert not wrong
    assert plain["method"]["teacher_model"]["init_from"] == str(folder.path)
    assert plain["method"]["teacher"] is None


def test_what_names_no_run_stays_as_it_is(tmp_path: Path) -> None:
    plain, wrong = settled(tmp_path, "method=byol")
    assert (plain, wrong) == (compose_plain(["method=byol", f"outputs={tmp_path}"]), [])


def test_a_file_stays_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.pt"
    path.touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in (str(path), "~/file.pt"):
        plain, wrong = settled(tmp_path, "method=supervised", f"model.init_from='{given}'")
        assert (plain["model"]["init_from"], wrong) == (str(path), [])


def test_what_was_found_once_is_meant_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "first")
    memo: dict[str, str] = {}
    plain = compose_plain(["method=distill", "method.teacher=last", f"outputs={tmp_path}"])
    settle(deepcopy(plain), memo)
    make_run(tmp_path, "second")
    settle(plain, memo)
    assert plain["method"]["teacher"] == str(folder.path)


@pytest.mark.parametrize("state", ["interrupted", "failed", "running"])
def test_a_run_that_is_not_complete_is_refused_and_it_is_said_what_to_do(
    tmp_path: Path, state: str
) -> None:
    folder = make_run(tmp_path, "cut-off", state)
    assert settled(tmp_path, "method=distill", "method.teacher=last")[1] == [
        f"teacher: {folder} is {state} at step 9; finish it with dlrun resume cut-off, or name one "
        f"of the files in {folder}/checkpoints"
    ]
    plain, wrong = settled(tmp_path, "method=distill", f"method.teacher={folder.last}")
    assert (plain["method"]["teacher"], wrong) == (str(folder.last), [])


def test_a_run_that_has_not_begun_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path, "run")
    folder.status.unlink()
    (told,) = settled(tmp_path, "method=supervised", f"model.init_from={folder.path}")[1]
    assert "run has not begun; finish it" in told and told.startswith("init_from: ")


def test_each_name_that_there_is_not_is_told(tmp_path: Path) -> None:
    make_run(tmp_path, "run")
    told = settled(tmp_path, "method=distill", "method.teacher=rum", "model.init_from=ruin")[1]
    assert [line.partition(":")[0] for line in told] == ["rum", "ruin"]
    assert "rum: no run of that name below" in told[0] and "the latest is run" in told[0]


def trained(note: Callable[[Any], object], checksum: str, spec: Any, *_: Any) -> Any:
    """Instead of the process of a job: one that has trained already, on these data."""
    note(spec)
    folder = RunFolder(Path(spec["folder"]))
    folder.prepare(spec["config"])
    status = {"state": "completed", "step": 1, "total": 1, "started": 0.0}
    status |= {"heartbeat": time.time(), "pid": 1, "host": "elsewhere"}
    write_json(folder.status, status)
    write_json(folder.provenance, {"data": {"checksum": checksum}})
    write_json(folder.summary, {"key_metric": "accuracy", "best": {"val": 0.5, "step": 1}})
    return SimpleNamespace(exitcode=0, close=lambda: None)


def test_in_a_sweep_a_name_means_one_run_for_all_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the second job would begin with the first, and the same command again with itself."""
    first = make_run(tmp_path / "outputs", "first")
    asked: list[str] = []

    def note(spec: Any) -> None:
        asked.append(spec["config"]["model"]["init_from"])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dlrun.sweeps.hydra.Starter", lambda: partial(trained, note, "data"))
    command = ["method=supervised", "model.init_from=last", "seed=0,1", "hardware=cpu"]
    assert sweep(command, None, Console()) == 0
    expected = str(first.path.relative_to(tmp_path))
    assert asked == [expected, expected]
    assert sweep(command, None, Console()) == 0
    assert asked == [expected, expected]
    assert capsys.readouterr().out.count("completed before: ") == 2


def test_jobs_of_a_sweep_that_saw_other_data_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[Any] = []

    def swept(checksum: str, seeds: str) -> tuple[int, str]:
        start = partial(trained, started.append, checksum)
        monkeypatch.setattr("dlrun.sweeps.hydra.Starter", lambda: start)
        command = ["method=supervised", f"seed={seeds}", "hardware=cpu", "sweep.jobs=1"]
        return sweep(command, None, Console()), " ".join(capsys.readouterr().out.split())

    monkeypatch.chdir(tmp_path)
    assert swept("before", "0,1")[0] == 0
    code, told = swept("after", "0,1,2")
    assert code == 1 and told.count("completed before: ") == 2
    found = re.search(r"job 0, 1: trained on other data than .* dlrun rm (\S+) (\S+), then", told)
    assert found is not None, told
    assert swept("after", "0,1,2")[0] == 1  # also when it is only looked at
    assert run(["rm", found[1], found[2], "--yes"]) == 0
    assert swept("after", "0,1,2")[0] == 0
    assert [spec["config"]["seed"] for spec in started] == [0, 1, 2, 0, 1]


# --- the copy ------------------------------------------------------------------------------------


def test_of_a_run_the_best_is_taken(inputs: Inputs) -> None:
    folder = make_run(inputs.outputs, "run")
    trained = inputs(str(folder.path))
    assert (trained.step, trained.accuracy, trained.method) == (7, 0.9, "supervised")
    assert trained.info == DataInfo(SHAPE, ("a", "b"), (0.5,), (0.2,), {}, "of these")
    assert trained.pixels == "standardized"
    assert trained.same_options
    assert trained.source == str(folder.path)
    expected: dict[str, Tensor] = content(7)["method"]
    assert trained.state.keys() == expected.keys()
    assert all(torch.equal(trained.state[name], expected[name]) for name in expected)
    assert trained.model is not None and trained.model.options.hidden == (4,)
    network_of(trained.model, SHAPE, 2).load_state_dict(trained.part("backbone") or {})


def test_without_a_best_the_last_is_taken(inputs: Inputs) -> None:
    folder = make_run(inputs.outputs, "run", best=None)
    assert inputs(str(folder.path)).step == 9


def test_the_copy_is_slim_and_is_used_when_the_source_is_gone(inputs: Inputs) -> None:
    folder = make_run(inputs.outputs, "run")
    before = inputs(str(folder.path))
    (kept,) = inputs.folder.inputs.iterdir()
    copied = torch.load(kept, weights_only=True)
    assert not {"optimizers", "scaler", "pending"} & copied.keys()
    assert kept.stat().st_size < folder.best.stat().st_size
    for path in sorted(folder.path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = Inputs(inputs.folder, inputs.outputs, DATASET)(str(folder.path))
    assert (again.step, again.source, again.model) == (before.step, before.source, before.model)
    assert all(torch.equal(again.state[name], value) for name, value in before.state.items())


def test_two_sources_have_two_copies(inputs: Inputs, tmp_path: Path) -> None:
    one, two = (save(tmp_path / f"{step}.pt", step=step) for step in (1, 2))
    assert (inputs(one).step, inputs(two).step, inputs(one).step) == (1, 2, 1)
    assert len(list(inputs.folder.inputs.iterdir())) == 2


def test_another_data_set_has_another_val_split(inputs: Inputs, tmp_path: Path) -> None:
    inputs.plain_dataset = DATASET | {"val_fraction": 0.1}
    assert not inputs(save(tmp_path / "x.pt")).same_options


def test_where_the_network_began_once_does_not_matter(inputs: Inputs, tmp_path: Path) -> None:
    model = MODEL | {"init_from": "long-gone", "freeze": "backbone"}
    options = inputs(save(tmp_path / "x.pt", model=model)).model
    assert options is not None
    assert (options.options.init_from, options.options.freeze) == (None, None)


def test_an_accuracy_of_other_weights_is_none(inputs: Inputs, tmp_path: Path) -> None:
    """last.pt of a run that was cut off between two evaluations holds the latest one's numbers."""
    assert inputs(save(tmp_path / "x.pt", step=9, val_step=9)).accuracy == 0.9
    assert inputs(save(tmp_path / "y.pt", step=9, val_step=5)).accuracy is None


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_state_dict_as_other_tools_save_it(tmp_path: Path, nested: str, prefix: str) -> None:
    state = {f"{prefix}conv1.weight": torch.zeros(1), f"{prefix}fc.bias": torch.zeros(2)}
    torch.save({nested: state, "epoch": 3} if nested else state, tmp_path / "w.pth")
    assert list(checkpoint.load_state_dict(tmp_path / "w.pth")) == ["conv1.weight", "fc.bias"]


def test_a_plain_state_dict_has_torchvisions_names(inputs: Inputs, tmp_path: Path) -> None:
    weight = torch.randn(2, 3)
    torch.save({"conv1.weight": weight, "fc.bias": torch.zeros(2)}, tmp_path / "x.pth")
    trained = inputs(str(tmp_path / "x.pth"))
    assert trained.part("backbone") is not None
    assert list(trained.part("backbone") or {}) == ["network.conv1.weight", "network.fc.bias"]
    assert torch.equal(trained.state["network.conv1.weight"], weight)
    assert (trained.model, trained.info, trained.method) == (None, None, None)
    (tmp_path / "x.pth").unlink()
    assert torch.equal(inputs(str(tmp_path / "x.pth")).state["network.conv1.weight"], weight)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "neither a checkpoint of dlrun nor a plain state dict"),
        ({"weight": torch.ones(1), "epoch": 3}, "neither a checkpoint of dlrun nor a plain"),
        ([torch.ones(1)], "not a checkpoint of dlrun"),
        (torch.nn.Linear(1, 1), "carries code"),
    ],
)
def test_other_files_are_refused(inputs: Inputs, tmp_path: Path, given: Any, said: str) -> None:
    torch.save(given, tmp_path / "x.pt")
    with pytest.raises(UserError, match=rf"x\.pt: .*{said}"):
        inputs(str(tmp_path / "x.pt"))
    assert not inputs.folder.inputs.exists() or not list(inputs.folder.inputs.iterdir())


def test_a_file_that_is_cut_short_is_refused(inputs: Inputs, tmp_path: Path) -> None:
    path = Path(save(tmp_path / "x.pt"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="damaged"):
        inputs(str(path))


def test_a_checkpoint_that_does_not_name_its_parts_is_refused(
    inputs: Inputs, tmp_path: Path
) -> None:
    old = content()
    del old["parts"]
    checkpoint.save(tmp_path / "x.pt", old)
    with pytest.raises(UserError, match=r"x\.pt: not a checkpoint of a run \(parts is missing\)"):
        inputs(str(tmp_path / "x.pt"))


def test_a_model_that_cannot_be_built_again_is_told(inputs: Inputs, tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", model=MODEL | {"hidden": "wide"})
    with pytest.raises(UserError, match=r"x\.pt: its model cannot be rebuilt \(model\.hidden"):
        inputs(path)


OWN = MODEL | {"name": "own_model:Own"}
OWN_CODE = "from dlrun.models.mlp import MLP\nprint('ran')\nclass Own(MLP):\n    pass\n"


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own that a checkpoint may name."""
    (tmp_path / "own_model.py").write_text(OWN_CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_model", raising=False)
    return tmp_path


def test_a_run_may_name_a_model_of_the_users_own(inputs: Inputs, own_code: Path) -> None:
    folder = make_run(inputs.outputs, "run", model=OWN)
    for _ in range(2):  # from the run, and from the copy
        model = inputs(str(folder.path)).model
        assert model is not None and model.name == "own_model:Own"


@pytest.mark.parametrize("given", ["{path}", "~/x.pt"])
def test_a_file_may_not_name_code_to_run(
    inputs: Inputs,
    own_code: Path,
    given: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also when the file is gone and the copy is left."""
    monkeypatch.setenv("HOME", str(own_code))
    path = own_code / "x.pt"
    given = given.replace("{path}", save(path, model=OWN))
    for gone in (False, True):
        if gone:
            path.unlink()
        with pytest.raises(UserError):
            inputs(given)
    assert "ran" not in capsys.readouterr().out


# --- what networks have to know of the data ------------------------------------------------------


def data_set(**columns: tuple[list[float], list[float], list[float]]) -> DataSet:
    """Attributes of a train, a val and a test split of 4, 2 and 2 images."""

    def table(split: int, rows: int) -> Table:
        attributes = {name: torch.tensor(values[split]) for name, values in columns.items()}
        return Table(torch.zeros(rows, *SHAPE, dtype=torch.uint8), None, attributes)

    return DataSet(
        "x", table(0, 4), table(1, 2), table(2, 2), (), None, torch.tensor([0.5]),
        torch.tensor([0.25]), "",
    )  # fmt: skip


def test_columns_by_hand() -> None:
    nan = float("nan")
    data = data_set(
        colour=([0, 2, -1, 1], [0, -1], [1, 2]), age=([1.0, nan, 3.0, 5.0], [9.0, nan], [7.0, 7.0])
    )
    info = info_of(data)
    assert (info.image_shape, info.mean, info.std) == (SHAPE, (0.5,), (0.25,))
    assert info.attributes["age"] == Column(None, 3.0, 2.0)  # of train alone
    assert info.attributes["colour"] == Column(3, 1.0, 1.0)


def test_a_class_that_only_held_out_images_have_is_a_class() -> None:
    """Else its index is out of the head's bounds when the loss on val is taken."""
    data = data_set(a=([0, 1, 0, -1], [2, 0], [0, 0]), b=([0, 1, 0, -1], [0, 0], [0, 4]))
    info = info_of(data)
    assert (info.attributes["a"].classes, info.attributes["b"].classes) == (3, 5)


@pytest.mark.parametrize("values", [[-1, -1, -1, -1], [3, 3, 3, 3], [-1, 3, -1, -1]])
def test_a_column_without_spread_has_one_to_be_divided_by(values: list[float]) -> None:
    column = info_of(data_set(a=(values, [-1, -1], [-1, -1]))).attributes["a"]
    assert column.std == 1
    assert column.mean == max(0, max(values))
