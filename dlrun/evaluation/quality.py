"""How good made images are: held against the test split by features, beside what real ones reach.

Made images are rounded to bytes first, as a file would hold them. Nothing here chooses anything.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun.data.rows import domain_rows
from dlrun.data.table import DataSet, Table
from dlrun.evaluation.code_pictures import codes_mixture
from dlrun.evaluation.evaluate import DIRECTIONS
from dlrun.evaluation.extractor import Extractor
from dlrun.evaluation.fidelity import ENOUGH, Estimate, Manifold, counted, frechet, kernel_distance
from dlrun.evaluation.inference import BATCH, Inference
from dlrun.methods.capabilities import Decodes, Samples, Translates
from dlrun.randomness import generator, permutation, seed_everything

FEWEST = 10
"""Images on either side below which nothing is said."""
SAMPLES = "samples"
_SHUFFLE = 0  # the same real images, whatever the run's seed is


def can_be_judged(method: object) -> bool:
    """Whether it makes images that have something real to be held against."""
    return isinstance(method, Samples | Decodes | Translates)


@dataclass
class _Against:
    """One set of real test images, and every set that was held against it.

    Attributes:
        real: features of test images (N, D).
        floor: features of as many train images, the best that can be hoped for.
        ceiling: features of what took no skill: noise, or the images before their translation.
        rows: test images that are translated; none where images are made of nothing.
        target: the domain that a translation is meant to have, 0 or 1.
        told: the figures, by row.
    """

    real: Tensor
    floor: Tensor
    ceiling: Tensor
    rows: Tensor | None = None
    target: int | None = None
    told: dict[str, dict[str, Estimate]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manifold = Manifold(self.real)

    @property
    def count(self) -> int:
        """How many images are judged."""
        return len(self.ceiling)


class Quality:
    """Judges what the same method makes with several weights: last, best, untrained.

    The sets that are compared are equally large, `samples` or what there is: all of these figures
    move with the number of images, so that only equal numbers compare.
    """

    def __init__(
        self,
        extractor: Extractor,
        data: DataSet,
        samples: int,
        seed: int,
        domains: Extractor | None = None,
    ) -> None:
        """`domains` has learnt to tell the two domains of a translation apart, 0 is A."""
        self.extractor, self.data, self.samples, self.seed = extractor, data, samples, seed
        self.domains = domains
        self._sets: dict[str, _Against] = {}
        self._skipped: list[str] = []

    def judged(self, kind: str, inference: Inference) -> dict[str, float]:
        """The figures of what `kind` of weights make, by name: `kid[...]/prior`, `.../a_to_b`."""
        numbers: dict[str, float] = {}
        for key, row, images in self._made(inference):
            against = self._sets[key]
            features = self.extractor.features(images)
            if not features.isfinite().all():
                continue
            told = self._held_against(against, features) | self._taken(against, images)
            against.told[kind if row == key else f"{kind}, {row}"] = told
            numbers |= {f"{name}/{row}": estimate.value for name, estimate in told.items()}
        return numbers

    def told(self) -> dict[str, Any]:
        """Everything for summary.json, the baselines among it."""
        return {
            "features": self.extractor.name,
            "sha256": self.extractor.sha256,
            "source": self.extractor.source,
            "domains": self.domains.source if self.domains else None,
            "split": "test",
            "interval": "value +- 1.96 standard errors of a jackknife over the images",
            "sets": {key: _plain(against) for key, against in self._sets.items()},
            "warnings": self._warnings(),
        }

    def _warnings(self) -> list[str]:
        lines = list(self._skipped)
        wide = max((against.real.shape[1] for against in self._sets.values()), default=0)
        few = min((against.count for against in self._sets.values()), default=0)
        if few < ENOUGH * wide:
            lines.append(
                f"FID of {few:,} images by {wide:,} features is too large, whatever they show "
                f"(it needs {ENOUGH * wide:,}); KID is not"
            )
        return lines

    def _held_against(self, against: _Against, features: Tensor) -> dict[str, Estimate]:
        """`features` (N, D) of one set of images."""
        found = {
            "kid": kernel_distance(features, against.real),
            "fid": frechet(features, against.real),
            "precision": against.manifold.share(features),
            "recall": Manifold(features).share(against.real),
        }
        return {f"{name}[{self.extractor.name}]": value for name, value in found.items()}

    def _taken(self, against: _Against, images: Tensor) -> dict[str, Estimate]:
        """How many of a translation's images are taken for the target domain."""
        if against.target is None or self.domains is None:
            return {}
        hits = self.domains.classes(images) == against.target
        return {f"taken[{self.domains.name}]": counted(hits)}

    # --- what is held against what -----------------------------------------------------------

    def _made(self, inference: Inference) -> list[tuple[str, str, Tensor]]:
        """The set that each kind of image belongs to, what made it, and the images as bytes."""
        method = inference.method
        made: list[tuple[str, str, Tensor]] = []
        with inference.evaluating():
            if isinstance(method, Samples | Decodes) and self._prepared_samples():
                n = self._sets[SAMPLES].count
                if isinstance(method, Samples):
                    seed_everything(self.seed, "quality", "prior")
                    made.append((SAMPLES, "prior", _in_parts(n, method.sample)))
                if isinstance(method, Decodes):
                    made.append((SAMPLES, "mixture", self._of_mixture(inference, method, n)))
            if isinstance(method, Translates):
                self._prepare_translations()
                seed_everything(self.seed, "quality", "translations")
                for way in DIRECTIONS:
                    if way in self._sets:
                        rows = self._sets[way].rows
                        assert rows is not None
                        parts = [
                            as_bytes(method.translate(batch.image, way))
                            for batch in inference.batches(self.data.test, rows)
                        ]
                        made.append((way, way, torch.cat(parts)))
        return made

    def _of_mixture(self, inference: Inference, method: Decodes, n: int) -> Tensor:
        seed_everything(self.seed, "quality", "mixture")
        mixture = codes_mixture(inference, method, self.seed)
        return _in_parts(n, lambda count: method.decode(mixture.sample(count).to(inference.device)))

    def _prepared_samples(self) -> bool:
        """Whether there are enough real images to hold samples against."""
        if SAMPLES not in self._sets and not self._skipped:
            train, test = (_picked(t, self.samples) for t in (self.data.train, self.data.test))
            n = min(len(train), len(test))
            if n < FEWEST:
                self._skip("samples", n)
            else:
                chance = generator(_SHUFFLE, "noise")
                noise = torch.randint(0, 256, (n, *train.shape[1:]), generator=chance).byte()
                self._add(SAMPLES, test[:n], train[:n], noise)
        return SAMPLES in self._sets

    def _prepare_translations(self) -> None:
        if self._sets or self._skipped:
            return
        assert self.data.domains is not None
        test, train = domain_rows(self.data, "test"), domain_rows(self.data, "train")
        images, train_images = self.data.test.images.cpu(), self.data.train.images.cpu()
        for way, source, target in zip(DIRECTIONS, (0, 1), (1, 0), strict=True):
            rows = _shuffled(test[source], self.samples)
            real = _shuffled(test[target], self.samples)
            floor = _shuffled(train[target], len(rows))
            if min(map(len, (rows, real, floor))) < FEWEST:
                self._skip(way, min(map(len, (rows, real, floor))))
                continue
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
        """A set with its baselines; who is taken for the target is told of the real test images."""
        features = self.extractor.features
        against = _Against(features(real), features(floor), features(ceiling), rows, target)
        self._sets[key] = against
        for row, seen, images in (
            ("real", against.floor, real),
            ("ceiling", against.ceiling, ceiling),
        ):
            against.told[row] = self._held_against(against, seen) | self._taken(against, images)

    def _skip(self, what: str, n: int) -> None:
        self._skipped.append(f"{what}: {n} images are too few to be judged; {FEWEST} are needed")


def as_bytes(unit: Tensor) -> Tensor:
    """Images in [0, 1] as uint8 on the CPU, as a file would hold them."""
    return unit.float().clamp(0, 1).mul(255).round().byte().cpu()


def _in_parts(n: int, make: Any) -> Tensor:
    """n images of `make(count)`."""
    return torch.cat([as_bytes(make(min(BATCH, n - done))) for done in range(0, n, BATCH)])


def _shuffled(rows: Tensor, n: int) -> Tensor:
    return rows[permutation(len(rows), _SHUFFLE, "quality")[:n]]


def _picked(table: Table, n: int) -> Tensor:
    return table.images.cpu()[_shuffled(torch.arange(len(table)), n)]


def _plain(against: _Against) -> dict[str, Any]:
    rows = {
        row: {
            name: {
                "value": estimate.value,
                "error": None if math.isnan(estimate.error) else estimate.error,
            }
            for name, estimate in told.items()
        }
        for row, told in against.told.items()
    }
    return {"images": against.count, "real": len(against.real), "rows": rows}
