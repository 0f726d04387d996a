"""What the process that a sweep's jobs are forked from has imported; it imports this file alone.

What asks a sweep to stop is held back in it: it ends with the sweep, for without it the jobs' ends
would not be seen. Each job lets through what has been sent to itself meanwhile.
"""

import signal

from dlrun.runs.signals import ASKING

signal.pthread_sigmask(signal.SIG_BLOCK, ASKING)  # before any library starts a thread

import gc  # noqa: E402

import torch._dynamo  # noqa: E402  (the first step of any optimizer imports it)
import torch.utils.tensorboard  # noqa: E402, F401

import dlrun.commands.job  # noqa: E402
import dlrun.commands.start  # noqa: E402
import dlrun.training.run  # noqa: E402
import dlrun.views.summary  # noqa: E402, F401

gc.freeze()  # jobs share these pages as long as nobody looks through them for rubbish
