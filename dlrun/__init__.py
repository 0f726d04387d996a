"""dlrun: one line in a shell becomes a deep-learning experiment that can be trusted."""

from importlib import import_module

# Not typing's: under `python -m dlrun`, a user's file typing.py would still be in its place here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dlrun.use import Prediction, TrainedModel, load

__version__ = "0.1.0"
__all__ = ["Prediction", "TrainedModel", "load"]


def __getattr__(name: str) -> "Any":
    """`from dlrun import load`, which imports torch only then."""
    if name in __all__:
        return getattr(import_module("dlrun.use"), name)
    raise AttributeError(f"module 'dlrun' has no attribute {name!r}")
