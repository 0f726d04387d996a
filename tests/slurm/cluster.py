"""A Slurm cluster of one node, this machine, on loopback: `with cluster(folder) as environment:`.

Needs Debian's packages slurm-wlm and munge, and root. By hand:

    python tests/slurm/cluster.py FOLDER    # prints what sets SLURM_CONF; Ctrl-C stops it
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "sinfo", "scontrol")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_MUNGE = Path("/run/munge")

CONF = """\
ClusterName=dlrun
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmUser=root
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2
SelectType=select/cons_tres
JobRequeue=1
KillWait=30
JobAcctGatherType=jobacct_gather/none
{node} NodeAddr=127.0.0.1 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Why there can be no cluster here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"no {', '.join(missing)}; apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "Slurm's daemons are started as root"


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Starts munged, slurmctld and slurmd; gives the environment in which sbatch finds them."""
    environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(folder / "slurm.conf")}
    for name in ("spool", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    host = os.uname().nodename.partition(".")[0]
    shown = subprocess.run(
        ["slurmd", "-C"], env=environment, capture_output=True, text=True, check=True
    )
    node = next(line for line in shown.stdout.splitlines() if line.startswith("NodeName="))
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, node=node))
    munge = _start_munge(environment)
    try:
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], env=environment, check=True, timeout=60)
        _wait_until(["sinfo", "-h", "-o", "%T"], "idle", environment)
        yield environment
        _wait_until(["squeue", "-h"], "", environment)  # else a job's srun outlives the daemons
    finally:
        for daemon in ("slurmd", "slurmctld"):
            with suppress(OSError, ValueError):
                os.kill(int((folder / f"{daemon}.pid").read_text()), signal.SIGTERM)
        if munge is not None:
            munge.terminate()
            munge.wait()


def _start_munge(environment: dict[str, str]) -> "subprocess.Popen[bytes] | None":
    if (_MUNGE / "munge.socket.2").exists():
        answers = subprocess.run(["munge", "-n"], capture_output=True, check=False)
        if answers.returncode == 0:
            return None
    _MUNGE.mkdir(exist_ok=True)
    shutil.chown(_MUNGE, "munge", "munge")
    return subprocess.Popen(
        ["runuser", "-u", "munge", "--", "munged", "--foreground", "--force"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_until(command: list[str], wanted: str, environment: dict[str, str]) -> None:
    told = ""
    for _ in range(240):
        shown = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        told = shown.stdout.strip() or shown.stderr.strip()
        if told == wanted:
            return
        time.sleep(0.5)
    raise RuntimeError(f"{command[0]} did not say {wanted!r} within two minutes: {told}")


if __name__ == "__main__":
    with cluster(Path(sys.argv[1]).absolute()) as found:
        print(f"export SLURM_CONF={found['SLURM_CONF']}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
