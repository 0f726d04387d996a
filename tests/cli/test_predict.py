"""`dlrun predict`, as users call it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_runs import call, outputs, wild

import dlrun as package
from dlrun.cli import run
from dlrun.errors import UserError

Dlrun = Callable[..., subprocess.CompletedProcess[str]]


def test_a_folder_into_a_pipe_names_what_it_cannot_read(dlrun: Dlrun, tmp_path: Path) -> None:
    count = wild(tmp_path / "wild")
    done = dlrun("predict", "the-sup", "wild", "--outputs", str(outputs()), "--top", "2")
    assert done.returncode == 1
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["file"] for row in rows if row["error"]] == ["wild/text.jpg", "wild/zero.png"]
    assert "2 of 7 files could not be read" in done.stderr and "empty file" in done.stderr
    assert len(rows) == count and "Traceback" not in done.stderr
    model = package.load(outputs() / "fashion_mini/supervised/the-supervised", device="cpu")
    wanted = model.predict(tmp_path / "wild" / "cmyk.jpg").top(2)
    (row,) = (row for row in rows if row["file"] == "wild/cmyk.jpg")
    assert (row["label"], row["label_2"]) == (wanted[0][0], wanted[1][0])
    assert float(row["probability"]) == pytest.approx(wanted[0][1], abs=1e-5)


def test_a_copied_file_and_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild(tmp_path / "wild")
    copied = tmp_path / "elsewhere.pt"
    shutil.copy(outputs() / "fashion_mini/supervised/the-supervised/checkpoints/best.pt", copied)
    images = str(tmp_path / "wild" / "*.png")
    kinds = ["csv", "json", "jsonl"]
    for kind in kinds:
        out = tmp_path / f"out.{kind}"
        assert run(["predict", str(copied), images, "-o", str(out), "--all"]) == 1
    with_csv = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    as_json = json.loads((tmp_path / "out.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert as_json == lines and len(with_csv) == len(lines) == 2
    shares = [value for key, value in lines[0].items() if key.startswith("p(")]
    assert len(shares) == 10 and sum(shares) == pytest.approx(1, abs=1e-4)
    assert not list(tmp_path.glob(".*.tmp"))
    pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    import pyarrow.parquet as pq

    assert run(["predict", str(copied), images, "-o", str(tmp_path / "out.parquet")]) == 1
    table = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["label"] for row in table] == [row.get("label") for row in lines]
    assert "1 predictions" in capsys.readouterr().err


def test_what_cannot_predict_says_who_can(tmp_path: Path) -> None:
    wild(tmp_path / "wild")
    with pytest.raises(UserError, match=r"cannot predict.*Runs here that can: the-supervised"):
        call("predict", "the-vae", str(tmp_path / "wild"))


def test_many_images_are_never_held_at_once(tmp_path: Path) -> None:
    """At most a few batches: the peak is that of 150 images whether there are 150 or 600."""
    pixels = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    for number in range(600):
        os.link(tmp_path / "a.jpg", tmp_path / f"{number:05d}.jpg")
    script = """
import resource, sys
from functools import partial
from dlrun.data.sources.decoding import decode_file
from dlrun.use.stream import find_files, stream
paths = find_files([sys.argv[1]])
def peak(some):  # MB; 3 x 224 x 224 of each image are 150 kB, 450 of them 68 MB
    for batch in stream(some, partial(decode_file, shape=(3, 224, 224)), 32):
        assert all(read.value is not None for read in batch)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
few = peak(paths[:150]); many = peak(paths)
assert many - few < 25, (few, many)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
