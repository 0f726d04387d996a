"""Runs that have learned columns of attributes, with the class or without it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from trained_runs import save_run

import dlrun
from dlrun.cli import run
from dlrun.errors import UserError
from dlrun.export.check import difference
from dlrun.export.graphs import graphs
from dlrun.use.model import Prediction
from dlrun.use.stream import Read
from dlrun.use.write import Sheet

HAIR = ("black", "brown", "red")


def faces(root: Path, hair: tuple[str, ...] = HAIR, age: bool = True) -> str:
    """Two classes, and a table with a column of names, one of classes, one of numbers."""
    rng = np.random.default_rng(0)
    lines = ["file,hair,glasses" + ",age" * age]
    for number in range(24):
        name = f"{('cat', 'dog')[number % 2]}/{number}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
        row = [name, hair[number % len(hair)], str(number % 2), f"{20 + number}.5"]
        lines.append(",".join(row[: 3 + age]))
    (root / "attributes.csv").write_text("\n".join(lines))
    return f"dataset.root={root}"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    options = (
        "dataset=image_folder", faces(folder / "images"), "dataset.size=16",
        "dataset.attributes=attributes.csv", f"data_dir={folder / 'cache'}",
    )  # fmt: skip
    save_run(folder / "a", "multitask", *options, "method.tasks=[age,label,hair,glasses]")
    save_run(folder / "b", "multitask", *options, "method.tasks=[age,hair]")
    return folder


def rows(outputs: Path, which: str, *words: str) -> list[dict[str, str]]:
    out = outputs / "out.csv"
    images = str(outputs / "images" / "cat")
    given = ["predict", "the-mul", images, "--outputs", str(outputs / which), "-o", str(out)]
    assert run([*given, *words]) == 0
    return list(csv.DictReader(out.read_text().splitlines()))


def test_each_task_has_its_columns_with_its_value_names(outputs: Path) -> None:
    found = rows(outputs, "a", "--top", "2")
    assert list(found[0]) == [
        "file", "label", "probability", "label_2", "probability_2", "age",
        "hair", "hair_probability", "hair_2", "hair_probability_2",
        "glasses", "glasses_probability", "glasses_2", "glasses_probability_2", "error",
    ]  # fmt: skip
    model = dlrun.load(outputs / "a/fashion_mini/multitask/the-multitask", device="cpu")
    predicted = model.predict_tasks([row["file"] for row in found])
    with torch.no_grad():  # by hand: the heads of the network, and the spread of the column
        images = torch.stack([model._bytes(row["file"])[0][0] for row in found])
        outputs_of = model.method(model.seen(images))
    column = model.info.attributes["age"]
    for number, (row, answer) in enumerate(zip(found, predicted, strict=True)):
        age, hair, label = answer["age"], answer["hair"], answer["label"]
        assert isinstance(hair, Prediction) and isinstance(label, Prediction)
        value = float(outputs_of["age"][number]) * column.std + column.mean
        assert age == pytest.approx(value, rel=1e-4) and float(row["age"]) == pytest.approx(
            age, rel=1e-4
        )
        assert hair.class_names == HAIR and row["hair"] == hair.label
        share = outputs_of["hair"][number].softmax(0)
        assert row["hair"] == HAIR[int(share.argmax())]
        assert float(row["hair_probability"]) == pytest.approx(float(share.max()), rel=1e-4)
        assert row["label"] == label.label == model.predict(row["file"]).label
        assert {row["glasses"], row["glasses_2"]} == {"0", "1"}


def test_every_class_may_have_a_column(outputs: Path) -> None:
    (row, *_) = rows(outputs, "a", "--all")
    for names in (("cat", "dog"), [f"hair={name}" for name in HAIR]):
        assert sum(float(row[f"p({name})"]) for name in names) == pytest.approx(1, abs=1e-4)


def test_a_run_that_has_not_learned_the_class(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(rows(outputs, "b")[0]) == ["file", "age", "hair", "hair_probability", "error"]
    model = dlrun.load(outputs / "b/fashion_mini/multitask/the-multitask", device="cpu")
    image = outputs / "images" / "cat" / "0.png"
    with pytest.raises(
        UserError, match="was trained on age, hair and not on the class; use predict_tasks"
    ):
        model.predict(image)
    given = ["predict", "the-mul", str(image), "--outputs", str(outputs / "b")]
    assert run([*given, "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {
        "file", "age", "hair", "hair_probability",
    }  # fmt: skip


def test_a_terminal_shows_all_of_them(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    images = str(outputs / "images" / "cat" / "0.png")
    assert run(["predict", "the-mul", images, "--outputs", str(outputs / "a")]) == 0
    line = capsys.readouterr().out
    assert all(f"  {task} " in line for task in ("age", "hair", "glasses")) and "cat/0.png" in line


def test_columns_with_the_names_of_ours_get_an_underscore() -> None:
    sheet = Sheet({"label": ("a", "b"), "error": ("0", "1"), "file": None}, 1, False)
    predicted = {
        "label": Prediction(("a", "b"), torch.tensor([0.2, 0.8])),
        "error": Prediction(("0", "1"), torch.tensor([0.9, 0.1])),
        "file": 7.0,
    }
    good = sheet.row(Read("x.png", torch.zeros(1)), predicted)
    bad = sheet.row(Read("bad.png", None, "empty file"), {})
    assert good.keys() == bad.keys() == sheet.columns.keys()
    assert (good["file"], good["label"], good["error_"], good["file_"], good["error"]) == (
        "x.png", "b", "0", 7.0, None,
    )  # fmt: skip
    assert (bad["file"], bad["label"], bad["error"]) == ("bad.png", None, "empty file")


def test_another_data_set_is_matched_by_value_names(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The images and the value names are the run's own, but the values' numbers are others."""

    def accuracy(*hair: str, columns: bool = True) -> float:
        root = tmp_path / "-".join(hair)
        options = ["dataset=image_folder", faces(root, hair, columns), f"data_dir={root / 'x'}"]
        options += ["dataset.attributes=attributes.csv", "--outputs", str(outputs / "b")]
        assert run(["evaluate", "the-mul", "--split", "test", "--json", *options]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        return float(row["numbers"]["accuracy_hair"])

    # Each colour alone is number 0 there, and each image is taken for exactly one of the three.
    shares = [accuracy(colour) for colour in HAIR]
    assert sum(shares) == pytest.approx(1) and len(set(shares)) > 1
    with pytest.raises(UserError, match=r"column hair has blond; .* knows black, brown, red"):
        accuracy("black", "blond")
    with pytest.raises(UserError, match=r"has no column 'age'; it has hair"):
        accuracy("black", "red", columns=False)


def test_a_number_is_exported_in_its_own_unit(outputs: Path) -> None:
    """An age is some tens: a difference of 1e-4 counts in standard deviations."""
    model = dlrun.load(outputs / "a/fashion_mini/multitask/the-multitask", device="cpu")
    units = {name: graph.unit for name, graph in graphs(model, model.method).items()}
    std = model.info.attributes["age"].std
    assert std > 2 and units == {
        "predict": 1, "predict_age": std, "predict_hair": 1, "predict_glasses": 1, "embed": 1,
    }  # fmt: skip
    wanted = torch.full((9,), 30.0)
    gap = difference("x", lambda x: x + 2e-4, wanted, wanted, units["predict_age"])
    assert gap == pytest.approx(2e-4 / std, rel=0.05)
