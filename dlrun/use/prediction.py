"""What a run takes images for: their class, and whatever else it has learnt of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dlrun.methods.abilities import Predicts, PredictsTasks
from dlrun.use.capability import demand

if TYPE_CHECKING:
    from dlrun.use.model import TrainedModel

LABEL = "label"
"""The task whose classes are those of the data set."""
Classes = dict[str, tuple[str, ...] | None]
"""What there is to tell of an image, the label first: names of classes, None of a number."""


@dataclass(frozen=True)
class Prediction:
    """What a classifier takes an image for. `probabilities` (K,) are those of `class_names`."""

    class_names: tuple[str, ...]
    probabilities: Tensor

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.top(1)[0][0]

    @property
    def probability(self) -> float:
        """Of the likeliest class, in [0, 1]."""
        return self.top(1)[0][1]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k likeliest classes and their probabilities, likeliest first."""
        values, places = self.probabilities.topk(min(k, len(self.class_names)))
        names = (self.class_names[place] for place in places.tolist())
        return list(zip(names, values.tolist(), strict=True))


def classes_of(model: "TrainedModel") -> Classes:
    """What the run has learnt to tell of an image.

    A class of a column that has no word for it is called by its number.

    Raises:
        UserError: nothing that could be predicted.
    """
    method = demand(model, "predict")
    if not isinstance(method, PredictsTasks):
        return {LABEL: model.class_names}
    found: Classes = {LABEL: model.class_names} if method.classifies else {}
    for task in method.tasks:
        if task.name != LABEL:
            words = model.info.words.get(task.name)
            numbers = tuple(str(number) for number in range(task.classes or 0))
            found[task.name] = (words or numbers) if task.classes else None
    return found


def answers(model: "TrainedModel", table: Tensor) -> dict[str, Tensor]:
    """Of uint8 images (N, C, H, W), in the order of `classes_of`, on the CPU.

    Probabilities (N, K) of the classes, or numbers (N,) in their own unit.
    """
    classes = classes_of(model)
    widths = [1 if names is None else len(names) for names in classes.values()]
    together = model.over(table, _told(demand(model, "predict"), list(classes)))
    parts = zip(classes.items(), together.split(widths, 1), strict=True)
    return {task: part[:, 0] if names is None else part for (task, names), part in parts}


def _told(method: Predicts, tasks: Sequence[str]) -> Callable[[Tensor], Tensor]:
    """All that is told of images, side by side (B, all classes and numbers)."""

    def told(x: Tensor) -> Tensor:
        if not isinstance(method, PredictsTasks):
            return method.probabilities(method.predict(x))
        found = method.predict_tasks(x)
        return torch.cat([found[task].float().view(len(x), -1) for task in tasks], 1)

    return told
