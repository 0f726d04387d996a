"""The pool's decisions, with jobs that learn nothing: a script that writes what a run would."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from studying import QUICK

from dlrun.config.compose import compose_plain
from dlrun.config.schema import SweepConfig, check
from dlrun.console import Console
from dlrun.runs.status import StatusWriter
from dlrun.sweeps.plan import Job, Slots, _gpus, divide, plan
from dlrun.sweeps.pool import Pool
from dlrun.sweeps.process import Process
from dlrun.sweeps.view import SweepView, counted, print_table

CONFIG = check(compose_plain(["hardware=cpu"], None))


def planned(folder: Path, *whats: str) -> list[Job]:
    """One job for each, told apart by its seed."""
    from dataclasses import replace

    configs = [
        ([f"what={what}", "steps=9"], replace(CONFIG, seed=seed)) for seed, what in enumerate(whats)
    ]
    return plan(configs, folder / "sweep")


def ran(jobs: list[Job], at_a_time: int = 2, **given: Any) -> tuple[Pool, str]:
    """The pool after it ran them, and what was printed."""
    console = Console(width=200, record=True, quiet=True)
    view = SweepView(console, jobs, at_a_time)
    settings = SweepConfig(**{"jobs": at_a_time, "retry": None, "fail_fast": False} | given)
    pool = Pool(jobs, Slots(at_a_time, 1), settings, view, time.time(), **QUICK)
    pool.run()
    console.quiet = False
    print_table(jobs, console)
    return pool, console.export_text()


def test_every_job_is_reported_as_it_ended(tmp_path: Path) -> None:
    whats = ["fine", "fail", "kill", "crash", "silent75", "silent0", "hangup", "fine2", "fine3"]
    jobs = planned(tmp_path, *whats)
    _, out = ran(jobs, at_a_time=3)
    assert [job.state for job in jobs[:5]] == [
        "completed", "failed", "interrupted", "failed", "failed",
    ]  # fmt: skip
    assert [job.reason.partition(";")[0] for job in jobs[:7]] == [
        "", "ValueError: as it was asked to", "killed by SIGKILL", "killed by SIGABRT",
        "exited with code 75", "exited with code 0", "stopped at step 3, saved",
    ]  # fmt: skip
    assert counted(jobs) == "3 completed, 2 interrupted, 4 failed"
    assert jobs[0].value == 4 and jobs[0].key_metric == "loss"
    assert "what=kill" in out and "killed by SIGKILL" in out
    assert json.loads(jobs[2].folder.status.read_text())["reason"] == "killed by SIGKILL"
    assert "killed by SIGABRT" in jobs[3].folder.log.read_text()


def test_again_only_what_is_left_is_done(tmp_path: Path) -> None:
    whats = ["fine", "fail", "kill"]
    first, _ = planned(tmp_path, *whats), ran(planned(tmp_path, *whats))
    counts: dict[str | None, list[int]] = {}
    for retry in (None, "failed"):
        jobs = planned(tmp_path, *whats)
        ran(jobs, retry=retry)
        assert [job.state for job in jobs] == ["completed", "failed", "interrupted"]
        assert jobs[1].ended_before == (retry is None)
        begun = [(job.folder.path / "begun").read_text().count("\n") for job in first]
        counts[retry] = begun
    assert counts == {None: [1, 1, 2], "failed": [1, 2, 3]}


def test_the_first_failure_stops_the_others_where_that_is_wanted(tmp_path: Path) -> None:
    jobs = planned(tmp_path, "wait", "fail_later", "fine", "fine2")
    ran(jobs, fail_fast=True)
    states = [job.state for job in jobs]
    assert states == ["interrupted", "failed", "waiting", "waiting"]
    assert jobs[0].reason == "stopped at step 3, saved"


def test_a_job_that_another_process_trains_is_waited_for(tmp_path: Path) -> None:
    mine, others = planned(tmp_path, "fine", "fine2"), planned(tmp_path, "fine", "fine2")
    others[0].folder.lock()

    class Later(SweepView):
        def refresh(self) -> None:
            if mine[1].state == "completed" and mine[0].state == "elsewhere":
                others[0].folder.unlock()

    view = Later(Console(quiet=True), mine, 2)
    Pool(mine, Slots(2, 1), SweepConfig(2, None, False), view, time.time(), **QUICK).run()
    assert [job.state for job in mine] == ["completed", "completed"]


def test_a_job_that_another_process_has_just_completed_is_not_claimed(tmp_path: Path) -> None:
    (job,) = jobs = planned(tmp_path, "late")
    console = Console(width=200, file=(said := io.StringIO()))
    Pool(
        jobs, Slots(1, 1), SweepConfig(1, None, False), SweepView(console, jobs, 1), time.time(),
        **QUICK,
    ).run()  # fmt: skip
    assert (job.state, job.value) == ("completed", 4)
    assert [line.split(":")[0] for line in said.getvalue().splitlines()] == [
        "job 0 started", "job 0 is being trained by another process", "job 0 completed",
    ]  # fmt: skip


def test_the_same_job_twice_is_done_once(tmp_path: Path) -> None:
    configs = [(["what=fine"], CONFIG), (["what=fine", "seed=0"], CONFIG)]
    jobs = plan(configs, tmp_path / "sweep")
    ran(jobs)
    assert [job.state for job in jobs] == ["completed", "completed"]
    assert (jobs[0].folder.path / "begun").read_text().count("\n") == 1


def test_threads_and_gpus_are_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    jobs = planned(tmp_path, "wait", "wait2", "fail")
    settings = SweepConfig(3, None, True)
    view = SweepView(Console(quiet=True), jobs, 3)
    Pool(jobs, Slots(3, 5, ("0", "2")), settings, view, time.time(), **QUICK).run()
    begun = [path.read_text() for path in sorted((tmp_path / "sweep").rglob("begun"))]
    assert set(begun) <= {"5 0\n", "5 2\n"} and len(begun) >= 1


def test_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlrun.sweeps import plan as slots

    free = 64 * 2.0**30
    monkeypatch.setattr(slots, "cores", lambda: 8)
    monkeypatch.setattr(slots, "_gpus", lambda: ("0", "1"))
    monkeypatch.setattr(slots, "free_memory", lambda: free)
    auto = SweepConfig("auto", None, False)
    assert divide(auto, [CONFIG] * 20).jobs == 8
    assert divide(auto, [CONFIG] * 3).threads == 2
    assert divide(SweepConfig(4, None, False), [CONFIG] * 20).threads == 2
    gpu = check(compose_plain(["hardware=auto"], None))
    assert divide(auto, [gpu] * 20).gpus == ("0", "1")
    assert divide(auto, [gpu] * 20).jobs == 2
    pair = check(compose_plain(["hardware=cpu", "hardware.devices=2"], None))
    pairs = divide(auto, [pair] * 20)
    assert (pairs.jobs, pairs.threads) == (4, 2)
    assert pairs.line == "4 at a time (8 cores), 2 processes each, 1 thread of each process"
    assert divide(auto, [pair] * 2).threads == 4
    gpu_pair = check(compose_plain(["hardware=auto", "hardware.devices=2"], None))
    assert divide(auto, [gpu_pair, gpu]).jobs == 1
    four = Slots(2, 1, ("0", "1", "2", "3"))
    seen = [four.environment(slot, 1, 2)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert seen == ["0,1", "2,3", "0,1"]
    free = 4 * 2.0**30
    assert divide(auto, [pair] * 20).jobs == 1
    few = divide(auto, [CONFIG] * 20)
    assert few.jobs == 2 and "memory" in few.line


def test_what_another_sweep_has_is_linked_unless_a_sweep_has_a_name(tmp_path: Path) -> None:
    sweeps = tmp_path / "sweeps"
    (one,) = plan([([], CONFIG)], sweeps / "0123abcd")
    (two,) = plan([([], CONFIG)], sweeps / "4567abcd")
    (named,) = plan([([], CONFIG)], sweeps / "anew")
    assert two.folder.path.samefile(one.folder.path)
    assert not named.folder.path.samefile(one.folder.path)
    one.folder.path.rmdir()  # whoever deletes it does not harm the other
    (again,) = plan([([], CONFIG)], sweeps / "4567abcd")
    assert again.folder.path.is_dir() and again.folder.path.parent.name == "4567abcd"


def test_without_a_terminal_a_line_is_printed_when_something_has_changed(tmp_path: Path) -> None:
    (job,) = planned(tmp_path, "fine")
    out = io.StringIO()
    view = SweepView(Console(width=200, file=out), [job], 1, lines_every=0.0)
    job.state, job.total, job.key_metric = "running", 9, "loss"
    for step, value in ((3, None), (3, None), (9, None), (9, None), (9, 0.5), (9, 0.5)):
        job.step, job.value = step, value
        view.refresh()
    assert [" ".join(line.split()) for line in out.getvalue().splitlines()] == [
        "job 0 step 3/9", "job 0 step 9/9", "job 0 step 9/9 val loss 0.5",
    ]  # fmt: skip


class Ended:
    """As a process of multiprocessing: once it was closed, every call but for the first fails."""

    def __init__(self, code: int) -> None:
        self.exitcode, self.closed = code, False

    def close(self) -> None:
        self.closed = True

    def terminate(self) -> None:
        if self.closed:
            raise ValueError("process object is closed")


def test_two_jobs_that_end_in_one_look_do_not_disturb_a_sweep_that_fails_fast(
    tmp_path: Path,
) -> None:
    jobs = planned(tmp_path, "a", "b")
    view, settings = SweepView(Console(quiet=True), jobs, 2), SweepConfig(2, None, True)
    Pool(jobs, Slots(2, 1), settings, view, time.time(), start=lambda *_: Ended(1)).run()
    assert [job.state for job in jobs] == ["failed", "failed"]


def test_the_time_left_is_counted_from_the_checkpoint_that_a_job_resumes(tmp_path: Path) -> None:
    """And not from the step at which it was killed, which was later."""
    (job,) = planned(tmp_path, "a")
    job.step = 1000  # in status.json, from before
    process = Process(job, 0, Slots(1, 1), time.time(), lambda *_: Ended(0))
    StatusWriter(job.folder, 2000, 500)
    process.look()
    assert job.step == 500 and job.seconds_left is None
    StatusWriter(job.folder, 2000, 600)
    process.look()
    assert job.seconds_left is not None and job.seconds_left < 60


@pytest.mark.parametrize(
    ("visible", "there", "found"),
    [
        (None, 2, ("0", "1")), ("0", 0, ()), ("0,1,2,3", 0, ()), ("NoDevFiles", 0, ()), ("", 0, ()),
        ("3, GPU-abc", 2, ("3", "GPU-abc")), ("1,7", 1, ("1",)),
    ],
)  # fmt: skip
def test_gpus_are_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, there: int, found: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert _gpus() == found
