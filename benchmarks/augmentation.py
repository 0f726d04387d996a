"""BYOL's two views: batched on the device against torchvision's transforms one image at a time.

    python benchmarks/augmentation.py        # about half a minute on two cores

Both draw the same distribution for 256 x 3 x 32 x 32 (random resized crop, flip, colour jitter
with hue, greyscale, solarise in the second view, normalise), in one process, in turn; medians. The
bar is 12 times.
"""

import statistics
import time

import torch
from PIL import Image
from torchvision.transforms import v2

from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.data.augment import augment
from dlrun.data.table import PixelScale

BATCH, SIZE, ROUNDS = 256, 32, 7
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


def per_sample(solarize: float) -> v2.Compose:
    return v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, (0.08, 1.0)),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2, 0.1)], 0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomSolarize(128, solarize),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def main() -> None:
    options = check(compose_plain(["method=byol"], None)).augment
    table = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in table]
    scale = PixelScale(torch.tensor(MEAN), torch.tensor(STD))
    first, second = per_sample(0.0), per_sample(0.2)

    def batched() -> None:
        for view in (options.first, options.second or options.first):
            scale.from_unit(augment(table, view))

    def one_by_one() -> None:
        for view in (first, second):
            torch.stack([view(picture) for picture in pictures])

    batched(), one_by_one()
    times: dict[str, list[float]] = {"batched": [], "one by one": []}
    for _ in range(ROUNDS):
        for name, work, repeats in (("batched", batched, 20), ("one by one", one_by_one, 1)):
            start = time.perf_counter()
            for _ in range(repeats):
                work()
            times[name].append((time.perf_counter() - start) / repeats)
    median = {name: statistics.median(entries) for name, entries in times.items()}
    for name, seconds in median.items():
        print(f"{name:<11} {BATCH / seconds:>9,.0f} two-view images/s")
    print(f"ratio {median['one by one'] / median['batched']:.1f}  (bar 12)")


if __name__ == "__main__":
    main()
