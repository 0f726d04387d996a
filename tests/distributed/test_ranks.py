"""Two processes on the CPU train one run: as one process would, and none without the other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from project import make_project, start
from torch import nn

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.errors import UserError
from dlrun.training import checkpoint
from dlrun.training.preflight import check_processes
from dlrun.training.ranks import SINGLE, Ranks, process_group, started

Dlrun = Callable[..., "subprocess.CompletedProcess[str]"]
TWO = ("hardware=ddp", "hardware.devices=2", "hardware.device=cpu", "hardware.precision=fp32")
ONE = ("hardware=cpu",)
SMALL = {
    # Without batch norm, whose statistics are those of a share, and without random numbers.
    "supervised": ("method=supervised", "model=cnn", "model.batch_norm=false", "optimizer.lr=0.01"),
    "cyclegan": (
        "method=cyclegan", "model.width=2", "model.blocks=1", "method.discriminator.width=2",
        "method.pool=0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_shares_are_the_batch_and_nothing_twice(size: int) -> None:
    rows = torch.randperm(12)
    shares = [Ranks(rank, size).shard(rows) for rank in range(size)]
    assert torch.equal(torch.cat(shares), rows)
    assert {len(share) for share in shares} == {12 // size}


def test_alone_nothing_is_exchanged() -> None:
    layer = nn.Linear(2, 1)
    SINGLE.average_gradients([*layer.parameters()])
    assert layer.weight.grad is None
    assert SINGLE.all_reduce_max(3, 0) == [3, 0]
    assert SINGLE.from_main({"a": 1}) == {"a": 1}
    assert SINGLE.on_main_rank(lambda: 3) == 3
    assert SINGLE.purpose == ()


GRADIENTS = """
import torch, torch.distributed as dist
from torch import nn
from dlrun.errors import Interrupted, RunFailed, UserError
from dlrun.training.ranks import Ranks

dist.init_process_group("gloo")
rank = dist.get_rank()
ranks = Ranks(rank, 2)
both, one, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
both.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
if rank == 1:
    one.grad = torch.tensor([4.0, 4.0])
ranks.average_gradients([both, one, none])
assert both.grad.tolist() == [1.5, 3.0], both.grad
assert one.grad.tolist() == [2.0, 2.0], one.grad
assert none.grad is None
assert ranks.all_reduce_max(rank, 1 - rank, 7) == [1, 1, 7]
assert ranks.from_main("main" if rank == 0 else "other") == "main"
assert ranks.average(torch.tensor([float(rank), float("nan")])).tolist()[0] == 0.5
assert ranks.average(torch.tensor([1.0, float("nan") if rank else 1.0])).isnan().tolist() == [0, 1]
assert ranks.on_main_rank(lambda: [rank]) == [0]
for error in (UserError("a"), RunFailed("b"), Interrupted(15, "c"), ValueError("d")):
    def fail():
        raise error
    try:
        ranks.on_main_rank(fail)
    except (SystemExit, Exception, Interrupted) as raised:
        if rank == 0:
            assert raised is error
        else:
            assert type(raised) is SystemExit and raised.code == getattr(error, "exit_code", 1)
    else:
        raise AssertionError("it went on")
order = []
with ranks.main_first():
    order.append(rank)
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_average(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(script)],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def only_run(outputs: Path) -> Path:
    (config,) = outputs.rglob("config.yaml")
    return config.parent


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", SMALL)
def test_two_processes_train_as_one_does(dlrun: Dlrun, tmp_path: Path, method: str) -> None:
    """The shares of a batch of 2 B in two processes, and 2 B in one."""
    make_project(tmp_path)
    options = (
        *SMALL[method], "dataset=few", "augment=none", "batch_size=8", "steps=4", "log_every=1",
        "eval_every=4",
    )  # fmt: skip
    for outputs, hardware in (("two", TWO), ("one", ONE)):
        done = dlrun("train", *options, *hardware, f"outputs={outputs}", timeout=300)
        assert done.returncode == 0, done.stderr
    two, one = only_run(tmp_path / "two"), only_run(tmp_path / "one")
    for a, b in zip(rows(two), rows(one), strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"time"}:
            assert a[name] == pytest.approx(b[name], rel=2e-3, abs=2e-3), (a["step"], name)
    weights = [checkpoint.load(run / "checkpoints" / "last.pt")["method"] for run in (two, one)]
    start = checkpoint.load(two / "checkpoints" / "last.pt")["step"]
    assert start == 4
    for name, value in weights[0].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, weights[1][name], rtol=1e-2, atol=2e-3)
    assert json.loads((two / "summary.json").read_text())["steps"] == 4
    assert len((two / "command.txt").read_text().splitlines()) == 1  # one writer


def test_a_lost_process_ends_the_run_and_it_can_be_resumed_by_one(
    dlrun: Dlrun, tmp_path: Path
) -> None:
    make_project(tmp_path)
    options = (
        "dataset=few", "epochs=100000", "method=autoencoder", "model=mlp_autoencoder",
        "model.hidden=[8]", "batch_size=16", "log_every=1",
    )  # fmt: skip
    process = start(tmp_path, "train", *options, *TWO)
    try:
        status = _wait_for_a_step(tmp_path, process)
        others = [pid for pid in _children(process.pid) if pid != status["pid"]]
        assert len(others) == 1
        os.kill(others[0], signal.SIGKILL)
        told = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == 1, told
    assert "another process of this run was lost" in told
    assert "Traceback" not in told
    run = only_run(tmp_path / "outputs")
    saved = checkpoint.load(run / "checkpoints" / "last.pt")["step"]
    assert saved >= 1
    # One process goes on with what two have begun.
    resumed = start(tmp_path, "resume", str(run), "--devices", "1")
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and resumed.poll() is None:
            if rows(run)[-1]["step"] > saved + 1 and _status(run)["pid"] == resumed.pid:
                break
            time.sleep(0.05)
        resumed.send_signal(signal.SIGINT)
        told = resumed.communicate(timeout=120)[0]
    finally:
        resumed.kill()
    assert resumed.returncode == 130, told
    assert f"resumed at step {saved} of" in told


def _status(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "status.json").read_text())
    return found


def _wait_for_a_step(folder: Path, process: "subprocess.Popen[str]") -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        found = list((folder / "outputs").rglob("metrics.jsonl"))
        if found and found[0].read_text().count("\n") > 3:
            return _status(found[0].parent)
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"it made no step: {process.communicate()[0]}")


def _children(pid: int) -> list[int]:
    """Of a process, by /proc."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("needs /proc to find the processes")
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(text) for task in tasks for text in (task / "children").read_text().split()]


def test_a_batch_that_cannot_be_shared_is_told_in_a_line(dlrun: Dlrun) -> None:
    done = dlrun("train", *TWO, "batch_size=7", "steps=2", timeout=300)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "batch_size: got 7, but 2 processes share a batch" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_gpus_are_told_to_be_none(dlrun: Dlrun) -> None:
    done = dlrun("train", "hardware=ddp", "hardware.device=cpu")
    assert done.returncode == 2
    assert "hardware.devices: got auto, all GPUs, but there is none" in done.stderr


def config_of(*overrides: str) -> TrainConfig:
    return check(compose_plain(["hardware=ddp", "hardware.devices=2", *overrides], None))


def test_batch_norm_is_synchronised_on_gpus_only() -> None:
    with pytest.raises(UserError, match="sync_batchnorm: got true"):
        check_processes(config_of("hardware.sync_batchnorm=true"), Ranks(0, 2))


def test_more_processes_than_were_started_are_told() -> None:
    with (
        pytest.raises(UserError, match="nothing has started that many"),
        process_group(config_of().hardware),
    ):
        pass


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({}, None), ({"RANK": "0", "WORLD_SIZE": "4"}, None), ({"MASTER_ADDR": "here"}, None),
        ({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "here"}, 2),
    ],
)  # fmt: skip
def test_variables_that_are_left_over_start_nothing(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], size: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert started() == size
    if size is None:
        SINGLE.console()
        assert ("left over" in capsys.readouterr().out) == ("RANK" in environment)
