"""`dlrun embed`: features of a split or of files, and pictures of them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trained_runs import call, outputs, wild

import dlrun
from dlrun.use.features import Part, Sample, in_two_dimensions, neighbour_rows


def test_the_val_split_with_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "f.npy"
    words = ("--picture", "--neighbours", "--projector", "--sample", "50")
    assert call("embed", "the-vae", "-o", str(out), *words) == 0
    assert "pictures show 50 of them" in capsys.readouterr().err
    features = np.load(out)
    lines = (tmp_path / "f-names.tsv").read_text().splitlines()
    assert features.shape == (400, 20) and features.dtype == np.float32 and len(lines) == 400
    name, label = lines[0].split("\t")
    assert name == "fashion_mini/val/0" and label
    assert Image.open(tmp_path / "f-pca.png").size == (900, 900)
    assert Image.open(tmp_path / "f-neighbours.png").size == (12 * 58 - 2, 12 * 58 - 2)
    assert list((tmp_path / "f-projector").rglob("sprite.png"))


def test_files_and_those_that_cannot_be_read(tmp_path: Path) -> None:
    wild(tmp_path / "wild")
    out = tmp_path / "f.npy"
    assert call("embed", "the-sup", str(tmp_path / "wild"), "-o", str(out)) == 1
    names = [line.split("\t")[0] for line in (tmp_path / "f-names.tsv").read_text().splitlines()]
    assert [Path(name).name for name in names] == [
        "a.jpg", "cmyk.jpg", "palette.png", "16.png", "alpha.png",
    ]  # fmt: skip
    model = dlrun.load(outputs() / "fashion_mini/supervised/the-supervised", device="cpu")
    wanted = model.embed([*names])
    assert np.allclose(np.load(out), wanted.numpy(), atol=1e-5)


def parts(count: int, each: int, width: int, side: int) -> Iterator[Part]:
    for number in range(count):
        names = [f"{number}-{row}" for row in range(each)]
        features = torch.full((each, width), float(number))
        yield Part(features, names, None, torch.zeros(each, 3, side, 2 * side).byte())


@pytest.mark.parametrize(("count", "limit"), [(10, 99), (100, 7), (7, 7), (12, 5)])
def test_a_sample_is_spread_evenly(count: int, limit: int) -> None:
    sample = Sample(count, limit)
    list(sample.watch(parts(count, 1, 3, side=80)))
    found = sample.whole()
    assert len(found.names) == min(limit, count) and found.images.shape[1:] == (3, 32, 64)
    places = found.features[:, 0]
    gaps = places.diff()
    assert int(gaps.max() - gaps.min()) <= 1 and int(places[-1]) == count - 1
    assert found.names == [f"{int(place)}-0" for place in places]


def test_features_are_never_held_at_once(tmp_path: Path) -> None:
    """80 MB of them go to the disk; the peak is that of 8 MB."""
    script = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from dlrun.use.features import Part
from dlrun.use.write import write_features
def parts(count):
    images, names = torch.zeros(100, 3, 2, 2).byte(), [str(row) for row in range(100)]
    for number in range(count):
        yield Part(torch.full((100, 1000), float(number)), names, None, images)
def peak(batches):
    assert write_features(parts(batches), Path(sys.argv[1])) == (100 * batches, 1000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
few = peak(20); many = peak(200)
assert many - few < 20, (few, many)
found = np.load(sys.argv[1], mmap_mode="r")
assert found.shape == (20_000, 1000) and found[-1, 0] == 199 and found[12_345, 7] == 123
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "f.npy")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_principal_components_are_the_widest_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([1.0, 9.0, 3.0])
    points = torch.randn(500, 3, generator=generator) * spread
    found = in_two_dimensions(points, "pca", 0)
    assert abs(float(torch.corrcoef(torch.stack([found[:, 0], points[:, 1]]))[0, 1])) > 0.99
    assert abs(float(torch.corrcoef(torch.stack([found[:, 1], points[:, 2]]))[0, 1])) > 0.99


def test_tsne_keeps_clusters_apart() -> None:
    pytest.importorskip("sklearn", reason="the extra 'features' is not installed")
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(40, 6, generator=generator) + 30 * (torch.arange(40) % 2)[:, None]
    found = in_two_dimensions(points, "tsne", 0)
    a, b = found[::2], found[1::2]
    assert float((a.mean(0) - b.mean(0)).norm()) > max(float(a.std()), float(b.std()))


def test_neighbours_begin_with_the_image_itself() -> None:
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    images = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 1, 2, 2)
    rows = neighbour_rows(features, images, queries=4, columns=2)
    order = [(row[:, 0, 0, 0] * 255).round().int().tolist() for row in rows]
    assert order == [[0, 1], [1, 0], [2, 3], [3, 2]]
