"""How good generated images are: compared with the test split in a feature space.

All of these numbers depend on the number of images, so the compared sets are equally large.
Generated images are rounded to bytes first, as in a file. Nothing here chooses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun.data.table import DataSet, domain_rows, some_rows
from dlrun.evaluation.extractor import Extractor
from dlrun.evaluation.fidelity import ENOUGH, Estimate, Manifold, counted, frechet, kernel_distance
from dlrun.evaluation.inference import DIRECTIONS, Inference, batch_of
from dlrun.evaluation.mixture import codes_mixture
from dlrun.methods.abilities import Decodes, Samples, Translates
from dlrun.randomness import generator, seed_everything

FEWEST = 10
"""Images that each compared set needs."""
SAMPLES = "samples"
_SHUFFLE = 0  # the same real images, whatever the run's seed is


def generates(method: object) -> bool:
    """Whether it generates images that can be compared with real ones."""
    return isinstance(method, Samples | Decodes | Translates)


@dataclass
class _Comparison:
    """Real test images, and the numbers of every set of images that was compared with them.

    Attributes:
        real: features of test images (N, D).
        floor: features of as many train images: the best to hope for.
        ceiling: features that needed no skill: of noise, or of the images before translation.
        rows: the test images to translate; None if images are drawn.
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
    """KID, FID, precision and recall of what one method generates with several weights.

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
        """The numbers of the weights `kind`, by name: `kid[...]/prior`, `kid[...]/a_to_b`."""
        found: dict[str, float] = {}
        for key, name, images in self._generated(inference):
            features = self.extractor.features(images)
            if not features.isfinite().all():
                continue
            comparison = self._comparisons[key]
            numbers = self._compared(comparison, features, images)
            comparison.numbers[kind if name == key else f"{kind}, {name}"] = numbers
            found |= {f"{metric}/{name}": estimate.value for metric, estimate in numbers.items()}
        return found

    def report(self) -> dict[str, Any]:
        """Everything that was measured, with the baselines, for summary.json."""
        sets = self._comparisons.values()
        wide = max((comparison.real.shape[1] for comparison in sets), default=0)
        few = min((len(comparison.ceiling) for comparison in sets), default=0)
        warnings = list(self._skipped)
        if few < ENOUGH * wide:
            warnings.append(
                f"FID of {few:,} images with {wide:,} features is biased upwards (it needs "
                f"{ENOUGH * wide:,} images); KID is not"
            )
        return {
            "features": self.extractor.name,
            "sha256": self.extractor.sha256,
            "source": self.extractor.source,
            "domains": self.domains.source if self.domains else None,
            "split": "test",
            "interval": "value +- 1.96 standard errors of a jackknife over the images",
            "sets": {key: comparison.to_plain() for key, comparison in self._comparisons.items()},
            "warnings": warnings,
        }

    def _compared(
        self, comparison: _Comparison, features: Tensor, images: Tensor
    ) -> dict[str, Estimate]:
        """The numbers of features (N, D), and how many images are classified as the target."""
        numbers = {
            "kid": kernel_distance(features, comparison.real),
            "fid": frechet(features, comparison.real),
            "precision": comparison.manifold.share(features),
            "recall": Manifold(features).share(comparison.real),
        }
        found = {f"{name}[{self.extractor.name}]": value for name, value in numbers.items()}
        if comparison.target is not None and self.domains is not None:
            hits = self.domains.classes(images) == comparison.target
            found[f"taken[{self.domains.name}]"] = counted(hits)
        return found

    def _generated(self, inference: Inference) -> list[tuple[str, str, Tensor]]:
        """The comparison that each set of images belongs to, its name, and its images as bytes."""
        method = inference.method
        self._prepare(inference)
        found: list[tuple[str, str, Tensor]] = []
        with inference.evaluating():
            if SAMPLES in self._comparisons:
                n = len(self._comparisons[SAMPLES].ceiling)
                size = batch_of(*self.data.image_shape[1:])
                if isinstance(method, Samples):
                    seed_everything(self.seed, "quality", "prior")
                    found.append((SAMPLES, "prior", _in_batches(n, size, method.sample)))
                if isinstance(method, Decodes):
                    seed_everything(self.seed, "quality", "mixture")
                    codes = codes_mixture(inference, method, self.seed).sample
                    device, decode = inference.device, method.decode
                    images = _in_batches(n, size, lambda count: decode(codes(count).to(device)))
                    found.append((SAMPLES, "mixture", images))
            if isinstance(method, Translates):
                seed_everything(self.seed, "quality", "translations")
                for way in (way for way in DIRECTIONS if way in self._comparisons):
                    parts = [
                        as_bytes(method.translate(batch.image, way))
                        for batch in inference.batches(self.data.test, self._comparisons[way].rows)
                    ]
                    found.append((way, way, torch.cat(parts)))
        return found

    def _prepare(self, inference: Inference) -> None:
        """Computes the features of real images and of the baselines, once."""
        if self._comparisons or self._skipped:
            return
        method = inference.method
        train, test = (split.images.cpu() for split in (self.data.train, self.data.test))
        if isinstance(method, Samples | Decodes):
            real = test[_some(inference.decoded(self.data.test), self.samples)]
            floor = train[_some(inference.decoded(self.data.train), self.samples)]
            n = min(len(real), len(floor))
            random = generator(_SHUFFLE, "noise")
            noise = torch.randint(0, 256, (n, *train.shape[1:]), generator=random).byte()
            self._add(SAMPLES, real[:n], floor[:n], noise)
        if isinstance(method, Translates):
            test_rows, train_rows = (domain_rows(self.data, split) for split in ("test", "train"))
            for way, source, target in zip(DIRECTIONS, (0, 1), (1, 0), strict=True):
                rows, real = (_some(test_rows[domain], self.samples) for domain in (source, target))
                floor = _some(train_rows[target], len(rows))
                self._add(way, test[real], train[floor], test[rows], rows, target)

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
        made = _Comparison(features(real), features(floor), features(ceiling), rows, target)
        # The classifier's accuracy on real images is that on the test split.
        made.numbers["real"] = self._compared(made, made.floor, real)
        made.numbers["ceiling"] = self._compared(made, made.ceiling, ceiling)
        self._comparisons[key] = made


def as_bytes(unit: Tensor) -> Tensor:
    """Images in [0, 1] as uint8 on the CPU, as a file would hold them."""
    return unit.float().clamp(0, 1).mul(255).round().byte().cpu()


def _in_batches(n: int, size: int, generate: Callable[[int], Tensor]) -> Tensor:
    """n images of `generate(count)`, `size` at a time, as bytes."""
    return torch.cat([as_bytes(generate(min(size, n - done))) for done in range(0, n, size)])


def _some(rows: Tensor, most: int) -> Tensor:
    """At most `most` of the rows."""
    return rows[some_rows(len(rows), most, "quality")]
