"""What the fork server imports before it makes the first job; it alone imports this module."""

import gc
import os

# A signal to the terminal's processes would end it before the jobs whose ends it reports.
os.setsid()

import torch._dynamo  # noqa: E402  (the first step of any optimizer imports it)
import torch.utils.tensorboard  # noqa: E402, F401

import dlrun.sweeps.worker  # noqa: E402
import dlrun.training.prerequisites  # noqa: E402
import dlrun.views.summary  # noqa: E402, F401

gc.freeze()  # shares these pages with the jobs: no collection touches them
