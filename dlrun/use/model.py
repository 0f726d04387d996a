"""A trained method as an object to call: images in of any kind, plain results out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from torch import Tensor

from dlrun.data.info import DataInfo
from dlrun.data.table import PixelScale
from dlrun.errors import UserError
from dlrun.methods.abilities import (
    Decodes,
    Direction,
    Embeds,
    HasPosterior,
    Reconstructs,
    Samples,
    Translates,
)
from dlrun.methods.base import Method
from dlrun.randomness import seed_everything
from dlrun.use.capability import capabilities, demand
from dlrun.use.images import Image, to_bytes
from dlrun.use.prediction import LABEL, Prediction, answers, classes_of

BATCH = 250
_PIXELS = 2**20  # of a batch: large images go through a network in smaller ones
_WEIGHTS = ("method", "optimizers", "scaler")
_SPAN = 3.0  # standard deviations to each side of a code


class TrainedModel:
    """What `dlrun.load` gives. One image gives one result; a list of images gives one for each.

    Images that go out are float32 (C, H, W) in [0, 1], or (N, C, H, W), and all tensors are on the
    CPU. A method that a run has not the capability for raises UserError and names the methods that
    have it; `capabilities` says which there are.
    """

    def __init__(
        self,
        method: Method,
        info: DataInfo,
        content: dict[str, Any],
        source: str,
        device: torch.device,
        memory_format: torch.memory_format,
        is_file: bool = False,
    ) -> None:
        self.method, self.info, self.source = method, info, source
        self.is_file = is_file
        """Whether it came from a bare file, which may not name code to run."""
        self.device, self.memory_format = device, memory_format
        self.content = {key: item for key, item in content.items() if key not in _WEIGHTS}
        """What its checkpoint says of itself, without the weights."""
        self.config: dict[str, Any] = content["config"]
        """The run's, as plain containers."""
        self.step: int = content["step"]
        self.val: dict[str, float] = content.get("val", {})
        """The latest evaluation before it was saved, on the val split."""
        mean, std = torch.tensor(info.mean), torch.tensor(info.std)
        self.scale = PixelScale.of(method.pixels, mean, std).to(device)

    def __repr__(self) -> str:
        return f"<{self}: {', '.join(self.capabilities)}>"

    def __str__(self) -> str:
        names = f"{self.config['method']['name']} on {self.config['dataset']['name']}"
        return f"{self.source} ({names}, step {self.step})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) that every image is brought to."""
        return self.info.image_shape

    @property
    def batch(self) -> int:
        """How many images go through the network at once."""
        _, height, width = self.image_shape
        return max(1, min(BATCH, _PIXELS // (height * width)))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the data set that it was trained on."""
        return self.info.class_names

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the two domains that a translation goes between, or none."""
        return tuple(domain.name for domain in self.info.domains)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Which of predict, embed, reconstruct, sample, interpolate, traverse, translate."""
        return capabilities(self.method)

    @overload
    def predict(  # type: ignore[overload-overlap]  # text is an image, not a list
        self, images: Image
    ) -> Prediction: ...
    @overload
    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...
    def predict(self, images: Image | Sequence[Image]) -> Prediction | list[Prediction]:
        """The classes that images are taken for, with probabilities."""
        table, single = self._bytes(images)
        found = [Prediction(self.class_names, row) for row in self.probabilities(table)]
        return found[0] if single else found

    def predict_tasks(self, images: Sequence[Image]) -> list[dict[str, Prediction | float]]:
        """Of each image whatever the run has learnt, by name: classes, or numbers in their unit.

        `label` is what `predict` gives; further columns are those of `method.tasks`.
        """
        told, classes = answers(self, self._bytes(list(images))[0]), classes_of(self)
        rows: list[dict[str, Prediction | float]] = [{} for _ in images]
        for task, values in told.items():
            names = classes[task]
            for row, value in zip(rows, values, strict=True):
                row[task] = float(value) if names is None else Prediction(names, value)
        return rows

    def embed(self, images: Image | Sequence[Image]) -> Tensor:
        """Features (D,) of an image, (N, D) of a list."""
        table, single = self._bytes(images)
        features = self.features(table)
        return features[0] if single else features

    def reconstruct(self, images: Image | Sequence[Image]) -> Tensor:
        """The image as the model gives it back."""
        method: Reconstructs = demand(self, "reconstruct")
        table, single = self._bytes(images)
        given = self.over(table, method.reconstruct)
        return given[0] if single else given

    def translate(self, images: Image | Sequence[Image], direction: str) -> Tensor:
        """The image in the other domain.

        Args:
            images: of the domain that is left.
            direction: a_to_b or b_to_a, or the name of the domain to go to.
        """
        method: Translates = demand(self, "translate")
        way = self.direction(direction)
        table, single = self._bytes(images)
        given = self.over(table, lambda x: method.translate(x, way))
        return given[0] if single else given

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n images of nothing, (n, C, H, W); the same for the same seed."""
        method: Samples = demand(self, "sample")
        parts, done = [], 0
        with self._seeded(seed), self.using():
            while done < n:
                parts.append(method.sample(min(self.batch, n - done)).float().cpu())
                done += len(parts[-1])
        return torch.cat(parts) if parts else torch.empty(0, *self.image_shape)

    def interpolate(self, a: Image, b: Image, steps: int = 10) -> Tensor:
        """The decoded codes on the line between those of a and b, (steps, C, H, W)."""
        method: Decodes = demand(self, "interpolate")
        one, other = self.features(self._bytes([a, b])[0])
        line = torch.lerp(one, other, torch.linspace(0, 1, steps)[:, None])
        return self._decoded(method, line)

    def traverse(
        self,
        image: Image | None = None,
        *,
        dims: Sequence[int] | None = None,
        steps: int = 11,
        codes: Tensor | None = None,
    ) -> Tensor:
        """One number of the code moved at a time, others as they are: (dims, steps, C, H, W).

        From 3 standard deviations below to 3 above.

        Args:
            image: whose code is begun with; None: the mean code.
            dims: which numbers; None: all, those that vary most first.
            steps: images for each number.
            codes: of some images (N, D), `model.embed(list_of_images)`, which say how far a number
                moves; None: the prior of the method, N(0, 1), where it has one.
        """
        method: Decodes = demand(self, "traverse")
        if codes is None and not isinstance(self.method, HasPosterior):
            raise UserError(
                f"{self}: its codes have no stated spread; give codes=model.embed(images)"
            )
        width = method.code_dim
        centre = torch.zeros(width) if codes is None else codes.mean(0)
        spread = torch.ones(width) if codes is None else codes.std(0)
        start = centre if image is None else self.features(self._bytes(image)[0])[0]
        if dims is None:
            dims = spread.argsort(descending=True, stable=True).tolist()
        moves = torch.linspace(-_SPAN, _SPAN, steps)
        rows = []
        for place in dims:
            if not 0 <= place < width:
                raise UserError(f"dims: got {place}, expected one of the code's 0 to {width - 1}")
            line = start.repeat(steps, 1)
            line[:, place] += moves * spread[place]
            rows.append(self._decoded(method, line))
        return torch.stack(rows)

    def direction(self, asked: str) -> Direction:
        """`asked` as a direction: itself, or the name of the domain to go to. Raises UserError."""
        ways: dict[str, Direction] = {"a_to_b": "a_to_b", "b_to_a": "b_to_a"}
        ways |= {"A": "b_to_a", "B": "a_to_b"}
        ways |= dict(zip(self.domains, ("b_to_a", "a_to_b"), strict=False))
        if asked not in ways:
            raise UserError(
                f"direction: got {asked!r}, expected a_to_b, b_to_a, or the domain to go to: "
                f"{' or '.join(self.domains) or 'A or B'}"
            )
        return ways[asked]

    def probabilities(self, table: Tensor) -> Tensor:
        """Of uint8 images (N, C, H, W): (N, K), of the classes in `class_names`."""
        told = classes_of(self)
        if LABEL not in told:
            raise UserError(
                f"{self}: has learnt {', '.join(told)} and not the class; predict_tasks gives them"
            )
        return answers(self, table)[LABEL]

    def features(self, table: Tensor) -> Tensor:
        """Of uint8 images (N, C, H, W): (N, D), float32."""
        method: Embeds = demand(self, "embed")
        return self.over(table, method.embed)

    def over(self, table: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """`function` of uint8 images (N, C, H, W), a batch at a time; float32 on the CPU."""
        with self.using():
            parts = [function(self.seen(part)).float().cpu() for part in table.split(self.batch)]
        return torch.cat(parts)

    def seen(self, part: Tensor) -> Tensor:
        """uint8 images as the network sees them, on its device."""
        x = self.scale.from_bytes(part.to(self.device))
        return x.contiguous(memory_format=self.memory_format)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Eval mode without gradients, in full precision whatever the caller has switched on."""
        self.method.eval()
        off = torch.autocast(self.device.type, enabled=False)
        with torch.no_grad(), off:
            yield

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """The default generators for one call; they are then as they were."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            seed_everything(seed, "sample")
            yield

    def _decoded(self, method: Decodes, codes: Tensor) -> Tensor:
        with self.using():
            parts = [method.decode(part.to(self.device)) for part in codes.split(self.batch)]
        return torch.cat(parts).float().cpu()

    def _bytes(self, images: Image | Sequence[Image]) -> tuple[Tensor, bool]:
        """uint8 (N, C, H, W), and whether it was a single one."""
        single = not isinstance(images, list | tuple)
        listed: Any = [images] if single else images
        rows = [to_bytes(image, self.image_shape) for image in listed]
        return torch.stack(rows) if rows else torch.empty(0, *self.image_shape).byte(), single
