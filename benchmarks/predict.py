"""`dlrun predict` against a bare loop with the same model and torchvision's decoder.

    python benchmarks/predict.py [IMAGES]       # 10,000 JPEGs; some minutes on two cores

Whole processes, so start and imports count on both sides; medians of three, in turn. Images are
photographs' size (500 x 375, quality 90), of noise and gradients. The model is resnet20 at 32
pixels, as small as what people would run, so that reading dominates. Memory is the peak of the
process with 1,000 and with all images. The bars: 0.9 of the images/s, and 50 MB.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

ROUNDS, BATCH, SIZE = 3, 128, 32


def bare(checkpoint: str, folder: str) -> None:
    """What somebody would write: decode, resize, crop, normalise, on a pool of threads."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2 import functional as F

    import dlrun

    model = dlrun.load(checkpoint, device="cpu")
    mean = torch.tensor(model.info.mean)[:, None, None]
    std = torch.tensor(model.info.std)[:, None, None]

    def one(path: Path) -> torch.Tensor:
        image = decode_jpeg(read_file(str(path)), ImageReadMode.RGB)
        image = F.center_crop(F.resize(image, [SIZE], antialias=True), [SIZE, SIZE])
        return (image.float() / 255 - mean) / std

    paths = sorted(Path(folder).glob("*.jpg"))
    labels = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            batch = torch.stack(list(pool.map(one, paths[start : start + BATCH])))
            labels += model.method.predict(batch).softmax(1).max(1).indices.tolist()
    assert len(labels) == len(paths)


def make_images(folder: Path, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    for number in range(50):
        noise = torch.rand(3, 24, 32, generator=generator)[None]
        large = torch.nn.functional.interpolate(noise, (375, 500), mode="bicubic")[0].clamp(0, 1)
        grain = 0.04 * torch.randn(3, 375, 500, generator=generator)
        pixels = ((large + grain).clamp(0, 1) * 255).byte().permute(1, 2, 0)
        Image.fromarray(pixels.numpy()).save(folder / f"of{number:02d}.jpg", quality=90)
    made = sorted(folder.glob("of*.jpg"))
    for number in range(count):
        os.link(made[number % len(made)], folder / f"{number:06d}.jpg")
    for path in made:
        path.unlink()


def train(folder: Path) -> str:
    tiny = folder / "tiny"
    for name in ("a", "b"):
        (tiny / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (40, 40), (number * 9, 99, 50)).save(tiny / name / f"{number}.png")
    subprocess.run(
        [*DLRUN, "train", "method=supervised", "model=resnet20", "dataset=image_folder",
         f"dataset.root={tiny}", "dataset.channels=3", "steps=2", "batch_size=8",
         f"outputs={folder / 'outputs'}", f"data_dir={folder / 'cache'}", "hardware=cpu"],
        check=True, capture_output=True,
    )  # fmt: skip
    (found,) = (folder / "outputs").rglob("last.pt")
    return str(found)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds, and the peak of the process in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit / 1e6


DLRUN = [sys.executable, "-m", "dlrun"]


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = train(folder)
        make_images(folder / "few", min(1000, count))
        make_images(folder / "all", count)

        def ours(images: Path) -> list[str]:
            return [*DLRUN, "predict", checkpoint, str(images), "--device", "cpu", "-o", "-"]

        theirs = [sys.executable, __file__, "bare", checkpoint, str(folder / "all")]
        few = measure(ours(folder / "few"))[1]
        runs = [(measure(ours(folder / "all")), measure(theirs)) for _ in range(ROUNDS)]
        own, other = (statistics.median(pair[side][0] for pair in runs) for side in (0, 1))
        peak = max(pair[0][1] for pair in runs)
        print(f"dlrun predict   {count / own:8,.0f} images/s  ({own:.1f} s)")
        print(f"bare loop       {count / other:8,.0f} images/s  ({other:.1f} s)")
        print(f"share           {other / own:8.2f}  (bar 0.9)")
        print(f"peak memory     {few:.0f} MB for {min(1000, count):,} images, {peak:.0f} MB for "
              f"{count:,}: {peak - few:+.0f} MB  (bar 50)")  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        bare(*sys.argv[2:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
