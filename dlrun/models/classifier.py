"""An encoder with a linear layer, and what distillation needs: taps, a regressor, a memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError


class Classifier(nn.Module):
    """Image (B, C, H, W) to logits (B, K): encoder, dropout on its features, linear layer.

    Without classes the head is None, and the output is the features.
    """

    def __init__(self, encoder: Any, dropout: float, num_classes: int | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = None if num_classes is None else nn.Linear(encoder.feature_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        features = self.dropout(self.encoder(x))
        return features if self.head is None else self.head(features)


@contextmanager
def _outputs(network: Classifier, paths: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """The outputs of these modules of the encoder, in the order in which they are computed."""
    outputs: dict[str, Tensor] = {}

    def keep(path: str, output: Any) -> None:
        if isinstance(output, Tensor):  # a copy, since what follows may change it in place
            outputs[path] = output.clone() if path else output

    handles = [
        network.encoder.get_submodule(path).register_forward_hook(
            lambda _, __, output, path=path: keep(path, output)
        )
        for path in paths
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def tapped(network: Classifier, path: str | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """The output of `network`, and that of its encoder's module `path`.

    Any module by its dotted path, such as 'stage2.1', without a change to the model; '' is the
    encoder itself, its features; None the network, its output.
    """
    if path is None:
        output = network(x)
        return output, output
    with _outputs(network, [path]) as seen:
        output = network(x)
    return output, seen[path]


def demand_path(network: Classifier, path: str, key: str) -> None:
    """Raises UserError where the encoder has no module of that path."""
    known = [name for name, _ in network.encoder.named_modules() if name]
    if path and path not in known:
        top = [name for name in known if name.count(".") < 2]
        raise UserError(
            f"{key}: got {path!r}, expected the path of a module of the model, one of "
            f"{', '.join(top)}"
        )


def last_map(network: Classifier, x: Tensor) -> str | None:
    """The path of the outermost module of the encoder that ends with a map (B, C, H, W)."""
    paths = [name for name, _ in network.encoder.named_modules() if name]
    with _outputs(network, paths) as seen:
        network(x)
    maps = [path for path, y in seen.items() if y.ndim == 4 and max(y.shape[2:]) > 1]
    return maps[-1] if maps else None


class Regressor(nn.Module):
    """FitNets' regressor: from the student's feature to the shape of the teacher's.

    A 1 x 1 convolution, or of vectors a linear layer, with batch norm (Romero et al. 2015, arXiv
    1412.6550, section 2.2). The norm keeps hints, whose weight is 10 and more, from diverging at
    usual learning rates. There is no activation, so that features of either sign can be matched; a
    map of another size is first averaged, or repeated, to the teacher's.

    Args:
        student: an example of its feature, (1, C) or (1, C, H, W).
        teacher: the same of the teacher's.
    """

    def __init__(self, student: Tensor, teacher: Tensor) -> None:
        """Raises UserError where one is a vector and the other a map, or neither."""
        super().__init__()
        shapes = [list(feature.shape[1:]) for feature in (student, teacher)]
        if student.ndim != teacher.ndim or student.ndim not in (2, 4):
            raise UserError(
                f"method.student_tap, method.teacher_tap: give features of shapes {shapes[0]} and "
                f"{shapes[1]}, expected two vectors or two maps"
            )
        (below, *_), (above, *size) = shapes
        self.size = tuple(size)
        self.layer = (
            nn.Sequential(nn.Conv2d(below, above, 1, bias=False), nn.BatchNorm2d(above))
            if size
            else nn.Sequential(nn.Linear(below, above, bias=False), nn.BatchNorm1d(above))
        )

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, ...) to the teacher's (B, C', ...)."""
        if feature.shape[2:] != self.size:
            feature = F.adaptive_avg_pool2d(feature, (self.size[0], self.size[1]))
        return self.layer(feature)


class Memory(nn.Module):
    """Remembers the outputs of a frozen network, by the row of their image.

    Not part of a checkpoint: after a resume it fills again, with the same values, since in eval
    mode a network's output for an image does not depend on the others of its batch.

    Args:
        rows: of the table, N.
    """

    known: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("known", torch.zeros(rows, dtype=torch.bool), persistent=False)

    def holds(self, index: Tensor) -> bool:
        """Whether every row of `index` (B,) is known."""
        return bool(self.known[index].all())

    def keep(self, index: Tensor, values: dict[str, Tensor]) -> None:
        """Keeps for each row of `index` (B,) its part of each of `values`, (B, ...)."""
        for name, value in values.items():
            if name not in self._buffers:
                room = value.new_empty(len(self.known), *value.shape[1:])
                self.register_buffer(name, room, persistent=False)
            self.get_buffer(name)[index] = value
        self.known[index] = True

    def recall(self, index: Tensor, name: str) -> Tensor:
        """What was kept as `name` for the rows of `index`, (B, ...)."""
        return self.get_buffer(name)[index]
