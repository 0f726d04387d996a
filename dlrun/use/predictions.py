"""Predictions as rows of a table: columns for each task that a run was trained on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from dlrun.use.model import LABEL, Prediction
from dlrun.use.stream import Read, printable
from dlrun.use.write import Row


@dataclass(frozen=True)
class Task:
    """The columns of one task."""

    name: str
    classes: tuple[str, ...] | None
    """Their names; None for a number."""
    top: tuple[tuple[str, str], ...] = ()
    """The columns of a class and of its probability, the most probable class first."""
    number: str = ""
    """The column of a number."""
    every: tuple[str, ...] = ()
    """A column for the probability of each class, if these are wanted."""


class Sheet:
    """The columns and rows of `file`, its predictions, `error`.

    Args:
        tasks: what is predicted, as in `TrainedModel.tasks`.
        top: the number of most probable classes.
        every: whether each class has a column of its own, too.
    """

    def __init__(self, tasks: Mapping[str, tuple[str, ...] | None], top: int, every: bool) -> None:
        self.columns: dict[str, type] = {"file": str}
        self.tasks = [self._task(name, classes, top, every) for name, classes in tasks.items()]
        self.columns["error"] = str

    def row(self, read: Read[Tensor], predicted: Mapping[str, Prediction | float]) -> Row:
        """Of a file and its predictions; those of an unreadable one are empty."""
        row = dict.fromkeys(self.columns) | {"file": printable(read.path)}
        for task in self.tasks if predicted else ():
            value = predicted[task.name]
            if isinstance(value, float):
                row[task.number] = value
                continue
            for (label, chance), found in zip(task.top, value.top(len(task.top)), strict=True):
                row[label], row[chance] = found
            if task.every:
                row |= zip(task.every, value.probabilities.tolist(), strict=True)
        return row | {"error": read.error or None}

    def cells(self, row: Row) -> Iterator[str]:
        """The predictions of a row for a terminal."""
        for task in self.tasks:
            head = "" if task.name == LABEL else f"{task.name} "
            if task.classes is None:
                yield f"{head}{row[task.number]:.4g}"
                continue
            width = max(map(len, task.classes))
            for label, chance in task.top:
                yield f"{head}{str(row[label]).ljust(width)} {row[chance]:.3f}"
            for name, column in zip(task.classes, task.every, strict=False):
                yield f"{head}{name} {row[column]:.3f}"

    def _task(self, name: str, classes: tuple[str, ...] | None, top: int, every: bool) -> Task:
        if classes is None:
            return Task(name, None, number=self._column(name, float))
        chance = "probability" if name == LABEL else f"{name}_probability"
        ends = ("", *(f"_{rank}" for rank in range(2, min(top, len(classes)) + 1)))
        columns = tuple(
            (self._column(f"{name}{end}", str), self._column(f"{chance}{end}", float))
            for end in ends
        )
        of = "" if name == LABEL else f"{name}="
        names = classes if every else ()
        each = tuple(self._column(f"p({of}{k})", float) for k in names)
        return Task(name, classes, columns, every=each)

    def _column(self, name: str, kind: type) -> str:
        """Adds it; a name that is taken, such as `file`, gets an underscore."""
        while name in self.columns or name == "error":
            name += "_"
        self.columns[name] = kind
        return name
