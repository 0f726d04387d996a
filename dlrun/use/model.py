"""A trained method as an object to call: images of any kind in, plain results out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor

from dlrun.data.info import DataInfo
from dlrun.data.table import DataSet, PixelScale
from dlrun.errors import UserError
from dlrun.evaluation.inference import Inference, batch_of
from dlrun.methods.abilities import (
    Decodes,
    Direction,
    Embeds,
    HasPosterior,
    Predicts,
    PredictsTasks,
    Reconstructs,
    Samples,
    Translates,
)
from dlrun.methods.base import Method
from dlrun.randomness import seed_everything
from dlrun.registry import lookup, names
from dlrun.training.hardware import autocast, pick_precision
from dlrun.use.images import Image, to_bytes

LABEL = "label"
"""The task whose classes are those of the data set."""
_WEIGHTS = ("method", "optimizers", "scaler")
_SPAN = 3.0  # standard deviations to each side of a code
_ABILITIES: dict[str, tuple[type, ...]] = {
    "predict": (Predicts, PredictsTasks),
    "embed": (Embeds,),
    "reconstruct": (Reconstructs,),
    "sample": (Samples,),
    "interpolate": (Decodes,),
    "traverse": (Decodes,),
    "translate": (Translates,),
}


def methods_that(verb: str) -> list[str]:
    """The names of dlrun's methods whose class defines what the verb needs."""
    attribute = {"interpolate": "decode", "traverse": "decode"}.get(verb, verb)
    return [name for name in names("method") if hasattr(lookup("method", name), attribute)]


@dataclass(frozen=True)
class Prediction:
    """The probabilities (K,) of an image's classes, and the names of these."""

    class_names: tuple[str, ...]
    probabilities: Tensor

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    @property
    def probability(self) -> float:
        """Of the most probable class, in [0, 1]."""
        return self.top(1)[0][1]

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes and their probabilities, the most probable first."""
        values, indices = self.probabilities.topk(min(k, len(self.class_names)))
        found = (self.class_names[index] for index in indices.tolist())
        return list(zip(found, values.tolist(), strict=True))


class TrainedModel:
    """What `dlrun.load` returns. One image gives one result; several images give one for each.

    An image is a path, a PIL image, an array (H, W, C) of uint8 or a tensor (C, H, W) of uint8 or
    of floats in [0, 1]; several are a list of these or a tensor (N, C, H, W). Images that are
    returned are float32 (C, H, W) or (N, C, H, W) in [0, 1]; all tensors are on the CPU.
    `capabilities` says which of its functions a model has; the others raise UserError and name the
    methods that have them.
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
        """Whether it was loaded from a bare file, which may not name code to run."""
        self.device, self.memory_format = device, memory_format
        self.content = {key: item for key, item in content.items() if key not in _WEIGHTS}
        """Its checkpoint without the weights."""
        self.config: dict[str, Any] = content["config"]
        """The run's config, as plain containers."""
        self.step: int = content["step"]
        self.val: dict[str, float] = content.get("val", {})
        """The last metrics on the val split before the checkpoint was saved."""
        mean, std = torch.tensor(info.mean), torch.tensor(info.std)
        self.scale = PixelScale.of(method.pixels, mean, std).to(device)

    def __repr__(self) -> str:
        return f"<{self}: {', '.join(self.capabilities)}>"

    def __str__(self) -> str:
        trained = f"{self.config['method']['name']} on {self.config['dataset']['name']}"
        return f"{self.source} ({trained}, step {self.step})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) that every image is brought to."""
        return self.info.image_shape

    @property
    def batch(self) -> int:
        """How many images go through the network at once."""
        return batch_of(*self.image_shape[1:])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of the data set that it was trained on."""
        return self.info.class_names

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the two domains that it translates between, or none."""
        return tuple(domain.name for domain in self.info.domains)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Which of predict, embed, reconstruct, sample, interpolate, traverse, translate."""
        method = self.method
        found = [verb for verb, kinds in _ABILITIES.items() if isinstance(method, kinds)]
        if "predict" in found and not isinstance(method, PredictsTasks) and not method.classifies:
            found.remove("predict")
        return tuple(found)

    def require(self, verb: str) -> Any:
        """The method, if it has the capability.

        Raises:
            UserError: it does not; names the methods that do.
        """
        if verb not in self.capabilities:
            can = ", ".join(self.capabilities) or "do nothing with images after its training"
            raise UserError(
                f"{self} cannot {verb}; it can {can}. Methods that can {verb}: "
                f"{', '.join(methods_that(verb))}"
            )
        return self.method

    @property
    def tasks(self) -> dict[str, tuple[str, ...] | None]:
        """What it predicts, the label first: the names of each task's classes, None for a number.

        A class without a name is called by its number.

        Raises:
            UserError: it predicts nothing.
        """
        method = self.require("predict")
        found: dict[str, tuple[str, ...] | None] = {}
        if method.classifies:
            found[LABEL] = self.class_names
        for task in method.tasks if isinstance(method, PredictsTasks) else ():
            if task.name != LABEL:
                numbers = tuple(str(number) for number in range(task.classes or 0))
                known = self.info.value_names.get(task.name) or numbers
                found[task.name] = known if task.classes else None
        return found

    @overload
    def predict(  # type: ignore[overload-overlap]  # text is an image, not a list
        self, images: Image
    ) -> Prediction: ...
    @overload
    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...
    def predict(self, images: Image | Sequence[Image]) -> Prediction | list[Prediction]:
        """The classes of images, with probabilities.

        Raises:
            UserError: it predicts other tasks only.
        """
        if LABEL not in self.tasks:
            raise UserError(
                f"{self} was trained on {', '.join(self.tasks)} and not on the class; use "
                "predict_tasks"
            )
        table, single = self._bytes(images)
        found = [Prediction(self.class_names, row) for row in self.answers(table)[LABEL]]
        return found[0] if single else found

    def predict_tasks(
        self, images: Sequence[Image] | Tensor
    ) -> list[dict[str, Prediction | float]]:
        """For each image the class or the number, in its own unit, of each of `tasks`.

        `label` is what `predict` gives; further tasks are those of `method.tasks`.
        """
        table = self._bytes(images)[0]
        rows: list[dict[str, Prediction | float]] = [{} for _ in table]
        for task, values in self.answers(table).items():
            names = self.tasks[task]
            for row, value in zip(rows, values, strict=True):
                row[task] = float(value) if names is None else Prediction(names, value)
        return rows

    def answers(self, table: Tensor) -> dict[str, Tensor]:
        """For each of `tasks` probabilities (N, K), or numbers (N,) in their own unit."""
        tasks, method = self.tasks, self.require("predict")

        def side_by_side(x: Tensor) -> Tensor:
            if not isinstance(method, PredictsTasks):
                return method.probabilities(method.predict(x))  # type: ignore[no-any-return]
            found = method.predict_tasks(x)
            return torch.cat([found[task].float().view(len(x), -1) for task in tasks], 1)

        widths = [1 if names is None else len(names) for names in tasks.values()]
        parts = zip(tasks.items(), self.over(table, side_by_side).split(widths, 1), strict=True)
        return {task: part[:, 0] if names is None else part for (task, names), part in parts}

    def embed(self, images: Image | Sequence[Image]) -> Tensor:
        """Features (D,) of an image, (N, D) of several."""
        return self.over(images, self.require("embed").embed)

    def reconstruct(self, images: Image | Sequence[Image]) -> Tensor:
        """The reconstruction of an image."""
        return self.over(images, self.require("reconstruct").reconstruct)

    def translate(self, images: Image | Sequence[Image], direction: str) -> Tensor:
        """The image in the other domain.

        Args:
            images: of the domain to translate from.
            direction: a_to_b or b_to_a, or the name of the domain to translate to.
        """
        method: Translates = self.require("translate")
        way = self.direction(direction)
        return self.over(images, lambda x: method.translate(x, way))

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """n generated images (n, C, H, W); the same for the same seed."""
        method: Samples = self.require("sample")
        sizes = [min(self.batch, n - start) for start in range(0, n, self.batch)]
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self._using():
            seed_everything(seed, "sample")
            parts = [method.sample(size).float().cpu() for size in sizes]
        return torch.cat(parts) if parts else torch.empty(0, *self.image_shape)

    def interpolate(self, a: Image, b: Image, steps: int = 10) -> Tensor:
        """The decoded codes on the line between those of a and b, (steps, C, H, W)."""
        method: Decodes = self.require("interpolate")
        first, last = self.embed([a, b])
        line = torch.lerp(first, last, torch.linspace(0, 1, steps)[:, None])
        return self._decoded(method, line)

    def traverse(
        self,
        image: Image | None = None,
        *,
        dims: Sequence[int] | None = None,
        steps: int = 11,
        codes: Tensor | None = None,
    ) -> Tensor:
        """Each dimension of the code moved by itself: (dims, steps, C, H, W).

        From 3 standard deviations below to 3 above.

        Args:
            image: whose code to start from; None: the mean code.
            dims: which dimensions; None: all, those that vary most first.
            steps: images for each dimension.
            codes: of some images (N, D), `model.embed(list_of_images)`, for the mean and the
                deviation; None: those of the prior, N(0, 1), if the method has one.
        """
        method: Decodes = self.require("traverse")
        if codes is None and not isinstance(self.method, HasPosterior):
            raise UserError(f"{self} has no prior; give codes=model.embed(images)")
        width = method.code_dim
        centre = torch.zeros(width) if codes is None else codes.mean(0)
        spread = torch.ones(width) if codes is None else codes.std(0)
        start = centre if image is None else self.embed(image)
        if dims is None:
            dims = spread.argsort(descending=True, stable=True).tolist()
        moves = torch.linspace(-_SPAN, _SPAN, steps)
        rows = []
        for dim in dims:
            if not 0 <= dim < width:
                raise UserError(f"dims: got {dim}, expected 0 to {width - 1}")
            line = start.repeat(steps, 1)
            line[:, dim] += moves * spread[dim]
            rows.append(self._decoded(method, line))
        return torch.stack(rows)

    def direction(self, given: str) -> Direction:
        """`given` itself, or the direction towards the domain of that name.

        Raises:
            UserError: it is neither.
        """
        known: dict[str, Direction] = {"a_to_b": "a_to_b", "b_to_a": "b_to_a"}
        known |= {"A": "b_to_a", "B": "a_to_b"}
        known |= dict(zip(self.domains, ("b_to_a", "a_to_b"), strict=False))
        if given not in known:
            raise UserError(
                f"direction: got {given!r}, expected a_to_b, b_to_a, or the target domain: "
                f"{' or '.join(self.domains) or 'A or B'}"
            )
        return known[given]

    def over(self, images: Image | Sequence[Image], function: Callable[[Tensor], Tensor]) -> Tensor:
        """`function` of the images as the network sees them, a batch at a time; float32, CPU."""
        table, single = self._bytes(images)
        with self._using():
            parts = [function(self.seen(part)).float().cpu() for part in table.split(self.batch)]
        found = torch.cat(parts)
        return found[0] if single else found

    def seen(self, part: Tensor) -> Tensor:
        """uint8 images as the network sees them, on its device."""
        x = self.scale.from_bytes(part.to(self.device))
        return x.contiguous(memory_format=self.memory_format)

    def inference(self, data: DataSet) -> Inference:
        """The method on another data set, at the precision of its training if the device has it."""
        hardware = self.config["hardware"]["precision"]
        asked = "auto" if hardware == "fp16" and self.device.type == "cpu" else hardware
        precision, _ = pick_precision(asked, self.device, self.config["method"]["name"])
        return Inference(
            self.method, data, self.scale, self.device, self.memory_format,
            lambda: autocast(self.device, precision),
        )  # fmt: skip

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Eval mode without gradients, in full precision whatever autocast the caller is in."""
        self.method.eval()
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            yield

    def _decoded(self, method: Decodes, codes: Tensor) -> Tensor:
        with self._using():
            parts = [method.decode(part.to(self.device)) for part in codes.split(self.batch)]
        return torch.cat(parts).float().cpu()

    def _bytes(self, images: Image | Sequence[Image]) -> tuple[Tensor, bool]:
        """uint8 (N, C, H, W), and whether it was a single image."""
        if isinstance(images, Tensor) and images.ndim == 4:
            if images.dtype == torch.uint8 and tuple(images.shape[1:]) == self.image_shape:
                return images, False
            images = list(images)
        single = not isinstance(images, list | tuple)
        listed: Any = [images] if single else images
        rows = [to_bytes(image, self.image_shape, self.info.bits) for image in listed]
        return torch.stack(rows) if rows else torch.empty(0, *self.image_shape).byte(), single
