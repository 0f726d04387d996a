"""Using trained runs: from Python, and by the verbs that come after the training."""

from dlrun.use.load import load
from dlrun.use.model import Prediction, TrainedModel

__all__ = ["Prediction", "TrainedModel", "load"]
