"""What a job is to its sweep, without learning anything: a script that writes the files of a run.

With what=... as its first override it does that at once: fine, fail, fail_later, kill, crash, late
(as if another process had just completed it), hangup, wait (until it is asked to stop), or silentN,
which exits with code N. Any other job trains for six steps, each STAND_IN_PAUSE seconds; what it
measures is a function of its learning rate.
"""

import fcntl
import json
import os
import select
import signal
import sys
import time

STEPS = 6
BEGAN = time.time()
SPEC = json.loads(sys.stdin.readline()) if __name__ == "__main__" else {"folder": "."}


def curve(lr: float) -> list[float]:
    """What a run with that learning rate measures, step by step."""
    return [round((1 - (lr - 0.3) ** 2) * step / (step + 1), 9) for step in range(1, STEPS + 1)]


def path(name: str) -> str:
    return os.path.join(SPEC["folder"], name)


def read(name: str) -> str:
    try:
        with open(path(name)) as file:
            return file.read()
    except OSError:
        return ""


def write(name: str, content: object) -> None:
    with open(path(f".{name}"), "w") as file:
        json.dump(content, file)
    os.replace(path(f".{name}"), path(name))


def note(state: str, step: int, reason: str = "") -> None:
    write("status.json", {
        "state": state, "step": step, "total": STEPS, "started": BEGAN, "heartbeat": time.time(),
        "pid": os.getpid(), "host": os.uname().nodename, "reason": reason,
    })  # fmt: skip


def stopped(step: int, code: int = 143) -> None:
    note("interrupted", step, f"stopped at step {step}, saved")
    sys.exit(code)


def do(what: str) -> None:
    """Whatever a test wants to see at once."""
    with open(path("begun"), "a") as file:
        names = "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
        file.write(" ".join(os.environ.get(name, "-") for name in names) + "\n")
    note("running", 3)
    if what == "fail_later":  # than the others begin
        time.sleep(0.5)
    if what.startswith("fail"):
        note("failed", 3, "ValueError: as it was asked to")
        sys.exit(1)
    if what.startswith("silent"):
        sys.exit(int(what[6:]))
    if what.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what.startswith("crash"):
        os.kill(os.getpid(), signal.SIGABRT)
    if what == "hangup":  # its terminal was closed
        stopped(3, 129)
    if what.startswith("wait"):
        signal.signal(signal.SIGTERM, lambda number, frame: stopped(3))
        sys.stdin.read()
        stopped(3)
    write("summary.json", {"key_metric": "loss", "best": {"val": len(what), "step": 3}})
    note("completed", 3)


def train() -> None:
    """Six steps, from where the folder stands."""
    lr, pause = SPEC["config"]["optimizer"]["lr"], float(os.environ["STAND_IN_PAUSE"])
    step = json.loads(read("status.json") or '{"step": 0}')["step"]
    open(path("config.yaml"), "a").close()
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))

    def lost_its_sweep(seconds: float) -> bool:
        return bool(select.select([0], [], [], seconds)[0])

    while step < STEPS and not asked:
        if lr > 0.99:
            note("failed", step, "ValueError: too high")
            sys.exit(1)
        note("running", step)
        time.sleep(pause)
        step += 1
        row = {"step": step, "time": 0.0, "val/accuracy": curve(lr)[step - 1], "val/kl": lr}
        with open(path("metrics.jsonl"), "a") as file:
            file.write(json.dumps(row) + "\n")
        note("running", step)
        # No trial outruns its pruner on a busy machine.
        while not asked and int(read("seen") or 0) < step:
            if lost_its_sweep(0.005):
                asked.append(0)
    if asked:
        stopped(step)
    best = {"val": curve(lr)[-1], "step": STEPS}
    write("summary.json", {"key_metric": "accuracy", "best": best, "seconds": lr})
    note("completed", step)


def main() -> None:
    lock = open(path(".lock"), "a")  # noqa: SIM115  (held until the end)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(0)
    first = SPEC["overrides"][0]
    if first != "what=late":
        write("job.json", {key: SPEC[key] for key in ("overrides", "threads", "token")})
    do(first.partition("=")[2]) if first.startswith("what=") else train()


if __name__ == "__main__":
    main()
