"""Signals, second starts, failures: what a run leaves behind, and that it can go on from there."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked import Forked
from project import assert_same, command, make_project, only_run, start

from dlrun.training import checkpoint

ENDLESS = ["epochs=100000", "eval_every=1000000", "checkpoint_every=1000000"]


def wait_for_steps(project: Path, process: Forked) -> Path:
    """Until the run below outputs/ has logged; its folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list((project / "outputs").rglob("metrics.jsonl"))
        if found and found[0].read_text().count("\n") > 2:
            return found[0].parent
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("no step within a minute")


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_asked_to_stop_it_finishes_the_step_and_saves(tmp_path: Path, sent: int, code: int) -> None:
    project = make_project(tmp_path)
    process = start(project, *command("vae", *ENDLESS))
    run = wait_for_steps(project, process)
    process.send_signal(sent)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == code, told
    assert "Traceback" not in told
    step = int(re.search(r"stopped at step (\d+), saved", told)[1])  # type: ignore[index]
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("interrupted", step)
    assert checkpoint.load(run / "checkpoints" / "last.pt")["step"] == step
    assert f"stopped at step {step}" in (run / "log.txt").read_text()


def test_nobody_reads_any_more_and_the_run_goes_on(tmp_path: Path) -> None:
    """`dlrun train | head -1`, and `| tee` that is ended by the same Ctrl-C."""
    project = make_project(tmp_path)
    process = start(project, *command("vae", *ENDLESS))
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    run = wait_for_steps(project, process)
    time.sleep(6)  # a line of progress comes every five seconds
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert checkpoint.load(run / "checkpoints" / "last.pt")["step"] == status["step"] > 0


def test_a_full_disk_behind_the_output_is_no_reason_to_fail(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dlrun", *command("vae", "steps=3")],
            cwd=project, stdout=full, stderr=full, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0
    status = json.loads((only_run(project / "outputs") / "status.json").read_text())
    assert status["state"] == "completed"


def test_a_reader_of_a_table_may_go_away(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert start(project, *command("vae", "steps=2")).wait(60) == 0
    for arguments in (["ls"], ["show", "last"]):
        done = subprocess.run(
            f"{sys.executable} -m dlrun {' '.join(arguments)} | true; exit ${{PIPESTATUS[0]}}",
            cwd=project, shell=True, executable="/bin/bash", capture_output=True, check=False,
            text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


def test_interrupted_runs_end_as_undisturbed_ones(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    settings = ["steps=400", "eval_every=200", "log_every=7"]
    process = start(project, *command("vae", *settings))
    run = wait_for_steps(project, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert 0 < checkpoint.load(run / "checkpoints" / "last.pt")["step"] < 400
    assert start(project, "resume", "last").wait(120) == 0
    assert start(project, *command("vae", *settings, "outputs=whole")).wait(120) == 0
    whole = only_run(project / "whole")
    assert_same(
        checkpoint.load(whole / "checkpoints" / "last.pt"),
        checkpoint.load(run / "checkpoints" / "last.pt"),
    )


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    slow = (project / "few.py").read_text() + (
        "\nfrom dlrun.methods.vae import VAE\nimport time\n"
        "class Slow(VAE):\n"
        "    def step(self, batch, update):\n"
        "        metrics = super().step(batch, update)\n"
        "        if update.step == 5:\n"
        "            print('in step five', flush=True)\n"
        "            end = time.monotonic() + 60\n"
        "            while time.monotonic() < end: time.sleep(0.1)\n"
        "        return metrics\n"
    )
    (project / "few.py").write_text(slow)
    process = start(project, *command("vae", *ENDLESS, "method.name=few:Slow", "log_every=1"))
    assert process.stdout is not None
    for line in process.stdout:
        if "in step five" in line:
            break
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    told = process.communicate(timeout=20)[0]
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert "stopped at once" in told


def test_a_running_run_is_not_resumed_a_second_time(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    process = start(project, *command("vae", *ENDLESS))
    run = wait_for_steps(project, process)
    second = start(project, "resume", str(run))
    told = second.communicate(timeout=60)[0]
    assert second.returncode == 2, told
    assert "another process is training this run" in told
    assert json.loads((run / "status.json").read_text())["state"] == "running"
    process.kill()
    process.wait()


def test_a_complete_run_has_nothing_to_resume(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    assert start(project, *command("vae", "steps=2")).wait(60) == 0
    run = only_run(project / "outputs")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    again = start(project, "resume", run.name)
    told = again.communicate(timeout=60)[0]
    assert again.returncode == 0
    assert "complete already, 2 steps" in told
    longer = start(project, "resume", run.name, "epochs=9")
    assert "epochs=9: a run keeps its config" in longer.communicate(timeout=60)[0]
    assert longer.returncode == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_metric_that_is_not_finite_stops_the_run_and_is_named(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    broken = (project / "few.py").read_text() + (
        "\nfrom dlrun.methods.vae import VAE\n"
        "class Breaks(VAE):\n"
        "    def step(self, batch, update):\n"
        "        metrics = super().step(batch, update)\n"
        "        if update.step == 13:\n"  # the fourteenth step
        "            metrics['kl'] = metrics['kl'] * float('nan')\n"
        "        return metrics\n"
    )
    (project / "few.py").write_text(broken)
    process = start(
        project, *command("vae", "method.name=few:Breaks", "log_every=5", "checkpoint_every=4")
    )
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 1, told
    assert "train/kl is nan at step 14" in told and "the checkpoint of step 12 is kept" in told
    assert "Traceback" not in told
    run = only_run(project / "outputs")
    assert checkpoint.load(run / "checkpoints" / "last.pt")["step"] == 12
    status = json.loads((run / "status.json").read_text())
    assert status["state"] == "failed" and "train/kl" in status["reason"]


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    broken = (project / "few.py").read_text() + (
        "\nimport torch\nfrom dlrun.methods.vae import VAE\n"
        "class Breaks(VAE):\n"
        "    def after_update(self, update):\n"
        "        if update.step == 7:\n"
        "            self.fc_mu.weight.fill_(float('inf'))\n"
    )
    (project / "few.py").write_text(broken)
    process = start(
        project, *command("vae", "method.name=few:Breaks", "log_every=50", "checkpoint_every=4")
    )
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 1, told
    assert "a weight is not finite after step 8" in told
    assert checkpoint.load(only_run(project / "outputs") / "checkpoints" / "last.pt")["step"] == 4


def test_out_of_memory_says_what_was_asked_and_what_to_lower(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    process = start(
        project,
        "train",
        "dataset=few",
        "batch_size=16",
        "model=mlp_autoencoder",
        "model.hidden=[1000000000]",
    )
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 1, told
    assert "Traceback" not in told
    assert re.search(r"out of memory when asking for 3136000000000 bytes", told), told
    assert "batch_size=16" in told and "model.hidden=[1000000000]" in told
