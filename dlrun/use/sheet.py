"""What is told of images as rows: a column for each thing that a run has learnt."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from dlrun.use.files import Read, printable
from dlrun.use.prediction import LABEL, Classes
from dlrun.use.rows import Row


@dataclass(frozen=True)
class Task:
    """The columns of one thing: the likeliest classes with their probabilities, or a number."""

    name: str
    classes: tuple[str, ...] | None
    likeliest: tuple[tuple[str, str], ...]
    """The column of a class and of its probability, the likeliest first; none of a number."""
    number: str | None
    every: tuple[str, ...]
    """A column for the probability of each class, where these are asked for."""


class Sheet:
    """Columns and rows of `file`, what is told of it, `error`.

    Args:
        classes: what there is to tell.
        top: how many of the likeliest classes.
        everything: whether each class has a column of its own, too.
    """

    def __init__(self, classes: Classes, top: int, everything: bool) -> None:
        self.columns: dict[str, type] = {"file": str}
        self.tasks = [self._task(name, of, top, everything) for name, of in classes.items()]
        self.columns["error"] = str

    def rows(self, batch: Sequence[Read[Tensor]], told: Mapping[str, Tensor]) -> list[Row]:
        """A row for each file of `batch`; `told` is of those of them that could be read."""
        filled = self._filled(told, sum(read.value is not None for read in batch))
        nothing: Row = dict.fromkeys(self.columns)
        return [
            {
                **(nothing if read.value is None else {**nothing, **next(filled)}),
                "file": printable(read.path),
                "error": read.why or None,
            }
            for read in batch
        ]

    def _filled(self, told: Mapping[str, Tensor], count: int) -> Iterator[Row]:
        """Of each image, the values of all tasks."""
        rows: list[dict[str, str | float | None]] = [{} for _ in range(count)]
        for task in self.tasks:
            if not count:
                break
            if task.number is not None:
                for row, value in zip(rows, told[task.name].tolist(), strict=True):
                    row[task.number] = value
                continue
            assert task.classes is not None
            values, places = told[task.name].topk(len(task.likeliest), 1)
            for row, ps, ks in zip(rows, values.tolist(), places.tolist(), strict=True):
                for (label, probability), p, k in zip(task.likeliest, ps, ks, strict=True):
                    row[label], row[probability] = task.classes[k], p
            if task.every:
                for row, ps in zip(rows, told[task.name].tolist(), strict=True):
                    row |= dict(zip(task.every, ps, strict=True))
        return iter(rows)

    def _task(self, name: str, classes: tuple[str, ...] | None, top: int, all_: bool) -> Task:
        if classes is None:
            return Task(name, None, (), self._column(name, float), ())
        chance = "probability" if name == LABEL else f"{name}_probability"
        afters = ("", *(f"_{place}" for place in range(2, min(top, len(classes)) + 1)))
        likeliest = tuple(
            (self._column(f"{name}{after}", str), self._column(f"{chance}{after}", float))
            for after in afters
        )
        of = "" if name == LABEL else f"{name}="
        every = tuple(self._column(f"p({of}{k})", float) for k in classes) if all_ else ()
        return Task(name, classes, likeliest, None, every)

    def _column(self, name: str, kind: type) -> str:
        """Adds it; one whose name is taken already, as `file`, gets an underscore."""
        while name in self.columns or name == "error":
            name += "_"
        self.columns[name] = kind
        return name
