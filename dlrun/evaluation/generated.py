"""How good generated images are: compared with the test split in the space of some features.

The sets that are compared are equally large: all of these numbers move with the number of images.
Generated images are rounded to bytes first, as a file would hold them. Nothing here chooses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun.data.table import DataSet, Table, domain_rows
from dlrun.evaluation.code_pictures import codes_mixture
from dlrun.evaluation.evaluate import DIRECTIONS
from dlrun.evaluation.extractor import Extractor
from dlrun.evaluation.fidelity import ENOUGH, Estimate, Manifold, counted, frechet, kernel_distance
from dlrun.evaluation.inference import BATCH, Inference
from dlrun.methods.abilities import Decodes, Samples, Translates
from dlrun.randomness import generator, permutation, seed_everything

FEWEST = 10
"""Images on either side below which nothing is measured."""
SAMPLES = "samples"
_SHUFFLE = 0  # the same real images, whatever the run's seed is


def generates(method: object) -> bool:
    """Whether it makes images that can be compared with real ones."""
    return isinstance(method, Samples | Decodes | Translates)


@dataclass
class _Comparison:
    """Real test images, and the numbers of every set of images that was compared with them.

    Attributes:
        real: features of test images (N, D).
        floor: features of as many train images, the best that can be hoped for.
        ceiling: features of what took no skill: noise, or the images before their translation.
        rows: the test images that are translated; None where images are drawn.
        target: the domain that a translation should have, 0 or 1.
        numbers: of each set, by its name.
    """

    real: Tensor
    floor: Tensor
    ceiling: Tensor
    rows: Tensor | None = None
    target: int | None = None
    numbers: dict[str, dict[str, Estimate]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manifold = Manifold(self.real)

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        rows = {
            name: {
                metric: {"value": e.value, "error": None if math.isnan(e.error) else e.error}
                for metric, e in numbers.items()
            }
            for name, numbers in self.numbers.items()
        }
        return {"images": len(self.ceiling), "real": len(self.real), "rows": rows}


class Quality:
    """KID, FID, precision and recall of what one method generates under several weights.

    Args:
        extractor: whose features are compared.
        data: with the real images.
        samples: how many images are generated, at most as many as the test split has.
        seed: of what is drawn.
        domains: a classifier of a translation's two domains, where 0 is A.
    """

    def __init__(
        self,
        extractor: Extractor,
        data: DataSet,
        samples: int,
        seed: int,
        domains: Extractor | None = None,
    ) -> None:
        self.extractor, self.data, self.samples, self.seed = extractor, data, samples, seed
        self.domains = domains
        self._comparisons: dict[str, _Comparison] = {}
        self._skipped: list[str] = []

    def measure(self, kind: str, inference: Inference) -> dict[str, float]:
        """What `kind` of weights generate, by name: `kid[...]/prior`, `kid[...]/a_to_b`."""
        found: dict[str, float] = {}
        for key, name, images in self._generated(inference):
            comparison = self._comparisons[key]
            features = self.extractor.features(images)
            if not features.isfinite().all():
                continue
            numbers = self._compared(comparison, features) | self._recognized(comparison, images)
            comparison.numbers[kind if name == key else f"{kind}, {name}"] = numbers
            found |= {f"{metric}/{name}": estimate.value for metric, estimate in numbers.items()}
        return found

    def report(self) -> dict[str, Any]:
        """Everything that was measured, with the baselines, for summary.json."""
        return {
            "features": self.extractor.name,
            "sha256": self.extractor.sha256,
            "source": self.extractor.source,
            "domains": self.domains.source if self.domains else None,
            "split": "test",
            "interval": "value +- 1.96 standard errors of a jackknife over the images",
            "sets": {key: comparison.to_plain() for key, comparison in self._comparisons.items()},
            "warnings": self._warnings(),
        }

    def _warnings(self) -> list[str]:
        sets = self._comparisons.values()
        wide = max((comparison.real.shape[1] for comparison in sets), default=0)
        few = min((len(comparison.ceiling) for comparison in sets), default=0)
        if few >= ENOUGH * wide:
            return list(self._skipped)
        return [
            *self._skipped,
            f"FID of {few:,} images with {wide:,} features is biased upwards (it needs "
            f"{ENOUGH * wide:,} images); KID is not",
        ]

    def _compared(self, comparison: _Comparison, features: Tensor) -> dict[str, Estimate]:
        """The numbers of one set of images, by its features (N, D)."""
        found = {
            "kid": kernel_distance(features, comparison.real),
            "fid": frechet(features, comparison.real),
            "precision": comparison.manifold.share(features),
            "recall": Manifold(features).share(comparison.real),
        }
        return {f"{name}[{self.extractor.name}]": value for name, value in found.items()}

    def _recognized(self, comparison: _Comparison, images: Tensor) -> dict[str, Estimate]:
        """How many translated images the classifier of the domains takes for the target."""
        if comparison.target is None or self.domains is None:
            return {}
        hits = self.domains.classes(images) == comparison.target
        return {f"taken[{self.domains.name}]": counted(hits)}

    def _generated(self, inference: Inference) -> list[tuple[str, str, Tensor]]:
        """The comparison that each set of images belongs to, its name, and its images as bytes."""
        method = inference.method
        found: list[tuple[str, str, Tensor]] = []
        with inference.evaluating():
            if isinstance(method, Samples | Decodes) and self._has_samples():
                n = len(self._comparisons[SAMPLES].ceiling)
                if isinstance(method, Samples):
                    seed_everything(self.seed, "quality", "prior")
                    found.append((SAMPLES, "prior", _in_batches(n, method.sample)))
                if isinstance(method, Decodes):
                    seed_everything(self.seed, "quality", "mixture")
                    codes = codes_mixture(inference, method, self.seed).sample
                    device, decode = inference.device, method.decode
                    images = _in_batches(n, lambda count: decode(codes(count).to(device)))
                    found.append((SAMPLES, "mixture", images))
            if isinstance(method, Translates):
                self._prepare_translations()
                seed_everything(self.seed, "quality", "translations")
                for way in (way for way in DIRECTIONS if way in self._comparisons):
                    rows = self._comparisons[way].rows
                    assert rows is not None
                    parts = [
                        as_bytes(method.translate(batch.image, way))
                        for batch in inference.batches(self.data.test, rows)
                    ]
                    found.append((way, way, torch.cat(parts)))
        return found

    def _has_samples(self) -> bool:
        """Whether there are enough real images to compare samples with."""
        if SAMPLES not in self._comparisons and not self._skipped:
            train, test = (self._picked(table) for table in (self.data.train, self.data.test))
            n = min(len(train), len(test))
            random = generator(_SHUFFLE, "noise")
            noise = torch.randint(0, 256, (n, *train.shape[1:]), generator=random).byte()
            self._add(SAMPLES, test[:n], train[:n], noise)
        return SAMPLES in self._comparisons

    def _prepare_translations(self) -> None:
        if self._comparisons or self._skipped:
            return
        test, train = domain_rows(self.data, "test"), domain_rows(self.data, "train")
        images, train_images = self.data.test.images.cpu(), self.data.train.images.cpu()
        for way, source, target in zip(DIRECTIONS, (0, 1), (1, 0), strict=True):
            rows = _shuffled(test[source], self.samples)
            real = _shuffled(test[target], self.samples)
            floor = _shuffled(train[target], len(rows))
            self._add(way, images[real], train_images[floor], images[rows], rows, target)

    def _add(
        self,
        key: str,
        real: Tensor,
        floor: Tensor,
        ceiling: Tensor,
        rows: Tensor | None = None,
        target: int | None = None,
    ) -> None:
        """A comparison with its baselines, unless there are too few images for one."""
        if (fewest := min(map(len, (real, floor, ceiling)))) < FEWEST:
            self._skipped.append(f"{key}: {fewest} images are too few, expected {FEWEST} or more")
            return
        features = self.extractor.features
        comparison = _Comparison(features(real), features(floor), features(ceiling), rows, target)
        self._comparisons[key] = comparison
        # Whether real images are recognized is measured on those of the test split.
        for name, own, images in (
            ("real", comparison.floor, real),
            ("ceiling", comparison.ceiling, ceiling),
        ):
            numbers = self._compared(comparison, own) | self._recognized(comparison, images)
            comparison.numbers[name] = numbers

    def _picked(self, table: Table) -> Tensor:
        return table.images.cpu()[_shuffled(torch.arange(len(table)), self.samples)]


def as_bytes(unit: Tensor) -> Tensor:
    """Images in [0, 1] as uint8 on the CPU, as a file would hold them."""
    return unit.float().clamp(0, 1).mul(255).round().byte().cpu()


def _in_batches(n: int, generate: Callable[[int], Tensor]) -> Tensor:
    """n images of `generate(count)`, as bytes."""
    return torch.cat([as_bytes(generate(min(BATCH, n - done))) for done in range(0, n, BATCH)])


def _shuffled(rows: Tensor, n: int) -> Tensor:
    return rows[permutation(len(rows), _SHUFFLE, "quality")[:n]]
