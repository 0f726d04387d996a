"""Multi-task learning: one shared encoder, a linear head for each task (Caruana 1997).

The lecture notes' 2.5. A task is the label or a column of the table's attributes: a class, learnt
as in `supervised`, or a number, learnt in standard deviations from the train split's mean, whatever
its unit. Images whose value of a task is missing do not count for that task.

Expect: with the label alone, what `supervised optimizer=adam` reaches; several tasks have not been
measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from dlrun.data.batches import Batch, EvalBatch, Labelled, WithColumns
from dlrun.data.info import Column
from dlrun.data.table import LABEL, no_column
from dlrun.errors import UserError
from dlrun.losses.base import bind
from dlrun.methods.base import Builder, Method, Update
from dlrun.methods.supervised import penalty
from dlrun.options import Choice, Group, NonEmpty, NonNegative, Range
from dlrun.registry import lookup


@dataclass(frozen=True)
class Task:
    """One thing to learn of an image: its label, or a column of the table's attributes."""

    name: str
    column: Column
    weight: float
    loss: Any

    @property
    def classes(self) -> int | None:
        """None: a number is learnt, not a class."""
        return self.column.classes

    @property
    def key(self) -> str:
        """Of its head: torch refuses `type`, `values` and others, which a column may be called."""
        return self.name if self.name == LABEL else f"of_{self.name}"

    @property
    def score_name(self) -> str:
        """What `scores` are called."""
        name = "accuracy" if self.classes else "absolute_error"
        return name if self.name == LABEL else f"{name}_{self.name}"

    def target(self, batch: Labelled | WithColumns | EvalBatch) -> tuple[Tensor, Tensor]:
        """The column of a batch and where it is known, each (B,).

        A missing class is -1, a missing number NaN or -1.
        """
        if self.name == LABEL:
            assert not isinstance(batch, WithColumns)
            target = batch.label
        else:
            target = batch.attributes[self.name]
        assert target is not None
        return target, target >= 0 if not target.is_floating_point() else ~target.isnan()

    def losses(self, values: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Of the head's values (B, K) and targets (B,): one loss an image (B,), 0 if unknown."""
        target = target.where(known, 0)
        if not self.classes:
            values, target = values[:, 0], (target.float() - self.column.mean) / self.column.std
        losses: Tensor = self.loss(values, target)
        return losses * known

    def scores(self, values: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Right or not, or how far off, of each image (B,); 0 if unknown."""
        if self.classes:
            return (values.argmax(1) == target).float() * known
        return (self.number(values) - target.where(known, 0)).abs() * known

    def number(self, values: Tensor) -> Tensor:
        """The head's values (B, 1) in the column's own unit, (B,)."""
        return values[:, 0].float() * self.column.std + self.column.mean


class Multitask(Method):
    """An encoder with a linear head for each task."""

    @dataclass(frozen=True)
    class Config:
        tasks: tuple[NonEmpty, ...]
        task_weights: tuple[NonNegative, ...] | None
        numbers: tuple[NonEmpty, ...]
        value_loss: Annotated[Choice, Group("loss", "values")]
        dropout: Annotated[float, Range(0, 1, high_open=True)]
        l1: NonNegative
        l2: NonNegative

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
    parts: ClassVar[dict[str, str]] = {"backbone": "encoder.", "head": "heads.label."}

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.encoder = build.model()
        self.dropout = nn.Dropout(config.dropout)
        self.tasks = _tasks(config, build)
        width = self.encoder.feature_dim
        self.heads = nn.ModuleDict(
            {task.key: nn.Linear(width, task.classes or 1) for task in self.tasks}
        )
        self.classifies = LABEL in config.tasks
        self.key_metric = self.key_metric_for(config)  # type: ignore[misc,assignment]

    @classmethod
    def view_for(cls, config: Config) -> type[Batch]:
        """Without the label among the tasks, the images need none."""
        return Labelled if LABEL in config.tasks else WithColumns

    @classmethod
    def key_metric_for(cls, config: Config) -> str | None:
        """Of the labels, where they are among the tasks."""
        return cls.key_metric if LABEL in config.tasks else "loss"

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """For each task, logits (B, K) or values (B, 1)."""
        features = self.dropout(self.encoder(x))
        return {task.name: self.heads[task.key](features) for task in self.tasks}

    def step(self, batch: Labelled | WithColumns, update: Update) -> dict[str, Tensor]:
        """The weighted sum of the tasks' losses, each averaged over the images that have it."""
        outputs, metrics = self(batch.image), {}
        loss = penalty(self.parameters(), self.config.l1, self.config.l2)
        for task in self.tasks:
            values, (target, known) = outputs[task.name], task.target(batch)
            count = known.sum().clamp_min(1)
            task_loss = task.losses(values, target, known).sum() / count
            loss = loss + task.weight * task_loss
            metrics[task.score_name] = task.scores(values, target, known).sum() / count
            if len(self.tasks) > 1:
                metrics[f"loss_{task.name}"] = task_loss
        assert isinstance(loss, Tensor)
        update.minimize(loss)
        return {"loss": loss, **metrics}

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K) of the label; without it among the tasks, the first task's values."""
        outputs = self(image)
        return outputs[LABEL if self.classifies else self.tasks[0].name]

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
        return self.encoder(image)

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """Loss and score of each task; the label's accuracy comes from `predict`."""
        outputs, metrics = self(batch.image), {}
        for task in self.tasks:
            values, (target, known) = outputs[task.name], task.target(batch)
            losses = task.losses(values, target, known)[known]
            if len(self.tasks) == 1:
                losses = losses * task.weight
            metrics[f"loss_{task.name}" if len(self.tasks) > 1 else "loss"] = losses
            if task.name != LABEL:
                metrics[task.score_name] = task.scores(values, target, known)[known]
        return metrics

    def totals(self, means: Mapping[str, float]) -> dict[str, float]:
        """The loss, as in a step: the weighted sum of the tasks' means over whom they are known."""
        if len(self.tasks) == 1:
            return {}
        found = [(task.weight, means.get(f"loss_{task.name}", 0.0)) for task in self.tasks]
        return {"loss": sum(weight * loss for weight, loss in found)}


def _tasks(config: Multitask.Config, build: Builder) -> tuple[Task, ...]:
    """Raises UserError for a column that the data set does not have."""
    columns = dict(build.info.attributes)
    if build.num_classes:
        columns[LABEL] = Column(build.num_classes, 0.0, 1.0)
    weights = config.task_weights or (1.0,) * len(config.tasks)
    loss = build.loss()
    value_loss = bind(lookup("loss", config.value_loss.name), config.value_loss.options)
    tasks = []
    for name, weight in zip(config.tasks, weights, strict=True):
        if name not in columns:
            raise no_column(
                "method.tasks", name, list(columns), build.info.doubts, "a column of the data set"
            )
        column = columns[name]
        if name in config.numbers:
            if name in build.info.value_names:
                raise UserError(
                    f"method.numbers: column {name} holds classes, "
                    f"{', '.join(build.info.value_names[name][:5])} ...; name it in dataset.numbers"
                )
            column = replace(column, classes=None)
        if column.classes is not None and column.classes < 2:
            what = "the images have no classes" if name == LABEL else "all images have one value"
            raise UserError(f"method.tasks: {name!r}: {what}, so there is nothing to learn")
        own = loss if column.classes or "values" in loss.kind else value_loss
        tasks.append(Task(name, column, weight, own))
    return tuple(tasks)
