"""Using what was trained: from Python, and behind the verbs that come after the training."""

from dlrun.use.load import load
from dlrun.use.model import TrainedModel
from dlrun.use.prediction import Prediction

__all__ = ["Prediction", "TrainedModel", "load"]
