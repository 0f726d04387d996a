"""Supervised learning: the lecture notes' custom training loop, grown up.

One network, one loss, labelled batches (the notes' section 2.3), with their regularisation (2.2),
transfer learning (2.4: `model.init_from`, `model.freeze`) and several tasks at once (2.5: Caruana
1997, one shared encoder and a linear head for each task). Otherwise than in the notes: the loss
takes logits (their example puts a softmax in front of CrossEntropyLoss, which takes it twice).

Expect: docs/results.md, "supervised".
"""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from dlrun.data.info import Column
from dlrun.data.views import HeldOut, Labelled
from dlrun.errors import UserError
from dlrun.losses.build import build_loss
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import Choice, Group, NonEmpty, NonNegative, Range

LABEL = "label"


@dataclass(frozen=True)
class Task:
    """One thing to learn of an image: its label, or a column of the table's attributes."""

    name: str
    column: Column
    weight: float
    loss: nn.Module

    @property
    def classes(self) -> int | None:
        """None: a number is learnt, not a class."""
        return self.column.classes

    def known(self, target: Tensor) -> Tensor:
        """Where (B,) the target is known: a missing class is -1, a missing number NaN or -1."""
        return target >= 0 if not target.is_floating_point() else ~target.isnan()

    def losses(self, values: Tensor, target: Tensor) -> Tensor:
        """Of the head's values (B, K) and targets (B,): one loss an image (B,), 0 if unknown.

        A number is learnt in standard deviations from the train split's mean, whatever its unit.
        """
        known = self.known(target)
        given = target.where(known, 0)
        if not self.classes:
            given = (given.float() - self.column.mean) / self.column.std
        losses: Tensor = self.loss(values if self.classes else values[:, 0], given)
        return losses * known

    @property
    def score_name(self) -> str:
        """What people look at."""
        name = "accuracy" if self.classes else "absolute_error"
        return name if self.name == LABEL else f"{name}_{self.name}"

    def scores(self, values: Tensor, target: Tensor) -> Tensor:
        """Right or not, or how far off, of each image (B,); 0 if unknown."""
        known = self.known(target)
        if self.classes:
            return (values.argmax(1) == target).float() * known
        return (self.number(values) - target.where(known, 0)).abs() * known

    def number(self, values: Tensor) -> Tensor:
        """The head's values (B, 1) in the column's own unit, (B,)."""
        return values[:, 0].float() * self.column.std + self.column.mean


class Supervised(Method):
    """An encoder with a linear head for each task."""

    @dataclass(frozen=True)
    class Config:
        dropout: Annotated[float, Range(0, 1, high_open=True)]
        l1: NonNegative
        l2: NonNegative
        tasks: tuple[NonEmpty, ...]
        task_weights: tuple[NonNegative, ...] | None
        numbers: tuple[NonEmpty, ...]
        value_loss: Annotated[Choice, Group("loss", "values")]

        def __post_init__(self) -> None:
            """Raises ValueError where the tasks are none or twice, or the weights do not match."""
            if not self.tasks or len(set(self.tasks)) < len(self.tasks):
                raise ValueError(f"tasks: got {list(self.tasks)}, expected different names")
            if self.task_weights is not None and len(self.task_weights) != len(self.tasks):
                raise ValueError(
                    f"task_weights: got {len(self.task_weights)}, expected one for each of "
                    f"{len(self.tasks)} tasks, or null"
                )
            for name in self.numbers:
                if name == LABEL or name not in self.tasks:
                    raise ValueError(f"numbers: got {name!r}, expected some of tasks, not {LABEL}")

    view = Labelled
    model_kind = "encoder"
    loss_kind = "logits"
    key_metric = "accuracy"
    cpu_bf16 = True
    parts: ClassVar[dict[str, str]] = {"backbone": "encoder.", "head": "heads.label."}

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.encoder = build.model()
        self.dropout = nn.Dropout(config.dropout)
        self.tasks = self._tasks(build)
        width = self.encoder.feature_dim
        self.heads = nn.ModuleDict(
            {_key(task.name): nn.Linear(width, task.classes or 1) for task in self.tasks}
        )
        self.classifies = LABEL in config.tasks
        self.key_metric = self.key_metric_for(config)  # type: ignore[misc,assignment]

    @classmethod
    def key_metric_for(cls, config: Config) -> str | None:
        """Of the labels, where they are among the tasks."""
        return cls.key_metric if LABEL in config.tasks else "loss"

    def _tasks(self, build: Builder) -> tuple[Task, ...]:
        config, loss = self.config, build.loss()
        known = {LABEL: Column(build.num_classes, 0.0, 1.0), **build.info.attributes}
        weights = config.task_weights or (1.0,) * len(config.tasks)
        tasks = []
        for name, weight in zip(config.tasks, weights, strict=True):
            if name not in known:
                raise UserError(
                    f"method.tasks: got {name!r}, expected some of {', '.join(known)}, what the "
                    "data set has"
                )
            column = known[name]
            if name in config.numbers and name != LABEL:
                column = replace(column, classes=None)
            own = loss if column.classes or "values" in loss.kind else build_loss(config.value_loss)
            tasks.append(Task(name, column, weight, own))
        return tuple(tasks)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """For each task, logits (B, K) or values (B, 1)."""
        features = self.dropout(self.encoder(x))
        return {task.name: self.heads[_key(task.name)](features) for task in self.tasks}

    def step(self, batch: Labelled, update: Update) -> dict[str, Tensor]:
        """Predictions, loss, backward, step."""
        outputs = self(batch.image)
        loss, told = self.penalty(), {}
        for task in self.tasks:
            values, target = outputs[task.name], _target(batch, task)
            known = task.known(target).sum().clamp_min(1)
            task_loss = task.losses(values, target).sum() / known
            loss = loss + task.weight * task_loss
            told[task.score_name] = task.scores(values, target).sum() / known
            if len(self.tasks) > 1:
                told[f"loss_{task.name}"] = task_loss
        update.minimize(loss)
        return {"loss": loss, **told}

    def penalty(self) -> Tensor:
        """l1 sum |w| + l2 sum w^2 over weights, not over biases and norms (the notes' 2.2)."""
        config, total = self.config, torch.zeros((), device=next(self.parameters()).device)
        if config.l1 or config.l2:
            weights = [p.float() for p in self.parameters() if p.requires_grad and p.ndim > 1]
            for w in weights:
                total = total + config.l1 * w.abs().sum() + config.l2 * w.square().sum()
        return total

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K) of the label, or what the first task gives where the label is no task."""
        outputs = self(image)
        return outputs[LABEL if self.classifies else self.tasks[0].name]  # type: ignore[no-any-return]

    def predict_tasks(self, image: Tensor) -> dict[str, Tensor]:
        """For each task probabilities (B, K) of its classes, or numbers (B,) in their own unit."""
        outputs = self(image)
        return {
            task.name: self.probabilities(outputs[task.name])
            if task.classes
            else task.number(outputs[task.name])
            for task in self.tasks
        }

    def embed(self, image: Tensor) -> Tensor:
        """The encoder's features (B, D)."""
        features: Tensor = self.encoder(image)
        return features

    def validate(self, batch: HeldOut) -> dict[str, Tensor]:
        """Loss and score of each task on held-out images; the label's accuracy is known besides."""
        outputs, told = self(batch.image), {}
        total = torch.zeros(len(batch.image), device=batch.image.device)
        for task in self.tasks:
            values, target = outputs[task.name], _target(batch, task)
            known, losses = task.known(target), task.losses(values, target)
            # As in a step, over the images of which it is known.
            total = total + task.weight * losses * (len(known) / known.sum().clamp_min(1))
            if len(self.tasks) > 1:
                told[f"loss_{task.name}"] = losses[known]
            if task.name != LABEL:
                told[task.score_name] = task.scores(values, target)[known]
        return {"loss": total, **told}


def _key(name: str) -> str:
    """Of a head: torch refuses `type`, `values` and others, which a column may be called."""
    return name if name == LABEL else f"of_{name}"


def _target(batch: Labelled | HeldOut, task: Task) -> Tensor:
    if task.name != LABEL:
        return batch.attributes[task.name]
    assert batch.label is not None
    return batch.label
