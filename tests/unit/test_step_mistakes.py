"""What a method gives back, and what is said where it is not what it should be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import SUPERVISED, experiment, inference_of, take_step

from dlrun.cli import run
from dlrun.errors import UserError
from dlrun.evaluation.evaluate import evaluate
from dlrun.runs.folder import RunFolder
from dlrun.training import assemble
from dlrun.training.assemble import Experiment
from dlrun.training.run import _restore


@pytest.fixture
def made() -> Experiment:
    return experiment(*SUPERVISED)


def replaced(step: Callable[..., Any], changed: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *arguments: changed(step(*arguments))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda metrics: None, r"step\(\) returned None, expected a dict of scalar tensors"),
        (lambda metrics: {}, r"step\(\) returned an empty dict, expected a dict of scalar tensors"),
        (lambda metrics: {"loss": 0.5}, r"step\(\) returned 0.5 for 'loss', expected a scalar"),
        (lambda metrics: {"a": torch.ones(3)}, r"returned a tensor \(3,\) on cpu for 'a'"),
        (
            lambda metrics: {"a": torch.ones((), dtype=torch.cfloat)},
            "expected a scalar tensor on cpu",
        ),
        (lambda metrics: {"lr": torch.ones(())}, r"returned 'lr', which is the learning rate's"),
    ],
)
def test_what_a_step_returns(made: Experiment, changed: Any, said: str) -> None:
    made.method.step = replaced(made.method.step, changed)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=said):
        take_step(made, 0)


def test_a_step_that_trains_nothing_is_refused_at_once(made: Experiment) -> None:
    made.method.step = lambda batch, update: {"loss": torch.ones(())}  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"did not call update\.minimize"):
        take_step(made, 0)


def test_parameters_that_are_made_in_a_step(made: Experiment) -> None:
    step = made.method.step

    def making(batch: Any, update: Any) -> Any:
        made.method.more = torch.nn.Linear(2, 2)
        return step(batch, update)

    made.method.step = making  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"new parameters or buffers \(more.weight, more.bias\)"):
        take_step(made, 0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (torch.ones(3), r"validate\(\) returned a tensor \(3,\), expected a dict"),
        (
            {"loss": torch.ones(())},
            r"returned a tensor \(\) for 'loss', expected a tensor \(250,\)",
        ),
        ({"loss": torch.ones(300)}, r"returned a tensor \(300,\) for 'loss', expected"),
        ({"loss": 0.5}, r"returned 0.5 for 'loss', expected a tensor \(250,\)"),
        (
            {"accuracy": torch.ones(3)},
            "'accuracy', which dlrun measures itself; give yours another",
        ),
    ],
)
def test_what_validate_returns(made: Experiment, found: Any, said: str) -> None:
    made.method.validate = lambda batch: found  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=said):
        evaluate(inference_of(made), "val", 0, full=False)


def test_parameters_that_no_optimizer_has_are_named(
    made: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("NOT trained" in line for line in made.report)
    groups = {"main": list(made.method.parameters())[1:]}
    monkeypatch.setattr(type(made.method), "parameter_groups", lambda self: groups)
    (line,) = assemble._left_out(made.method, assemble.parameter_groups(made.method))
    name = next(iter(dict(made.method.named_parameters())))
    assert line == f"NOT trained, in none of parameter_groups(): 1 parameters ({name})"


def test_a_run_that_is_refused_before_its_first_step_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="batch norm, which needs two images"):
        run(["train", "method=byol", "model=mlp", "batch_size=1", "hardware=cpu"])
    assert not list(tmp_path.rglob("config.yaml"))


def test_a_checkpoint_without_a_fact_of_its_run_is_refused(
    made: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    folder.last.parent.mkdir()
    folder.last.touch()
    monkeypatch.setattr("dlrun.training.checkpoint.load_own", lambda *_: {"step": 3})
    monkeypatch.setattr("dlrun.training.run.demand_run", lambda *_: None)
    with pytest.raises(UserError, match=r"last\.pt: seconds is missing; the run cannot be resumed"):
        _restore(made, folder)
