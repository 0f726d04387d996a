"""Two data sets as two domains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, domain_rows
from dlrun.errors import UserError
from dlrun.training.assemble import assemble

MINI = ("dataset=two_domains", "dataset@dataset.a=fashion_mini", "dataset@dataset.b=fashion_mini")


def opened(*overrides: str) -> DataSet:
    config = check(compose_plain([*overrides, "method=cyclegan"], None))
    return open_dataset(config.dataset, None)


def folder(root: Path, colour: bool, size: int, count: int = 10) -> Path:
    """Two classes of images of a single colour, in steps of 10."""
    for number in range(count):
        for name in ("left", "right"):
            (root / name).mkdir(parents=True, exist_ok=True)
            value = (10 * number, 0, 200) if colour else (10 * number,) * 3
            Image.new("RGB", (size, size), value).save(root / name / f"{number}.png")
    return root


def test_two_classes_of_one_data_set_are_the_classes_domains() -> None:
    ours = opened(*MINI, "dataset.a_class=Sneaker", "dataset.b_class='Ankle boot'")
    assert ours.class_names == ("Sneaker", "Ankle boot") and ours.domains == (0, 1)
    assert (len(ours.train), len(ours.val), len(ours.test)) == (720, 80, 200)
    whole = opened("dataset=fashion_mini")
    wanted: Any = whole.test.images[domain_rows(whole, "test")[0]]
    assert torch.equal(ours.test.images[domain_rows(ours, "test")[0]], wanted)


def test_two_data_sets_of_different_shapes(tmp_path: Path) -> None:
    root = folder(tmp_path / "colour", colour=True, size=12)
    given = (
        "dataset=two_domains", "dataset@dataset.a=fashion_mini", "dataset.a_class=Bag",
        "dataset@dataset.b=image_folder", f"dataset.b.root={root}", "dataset.b.size=12",
        f"data_dir={tmp_path}",
    )  # fmt: skip
    data = opened(*given)
    assert data.class_names == ("Bag", "image_folder")
    assert data.image_shape == (3, 28, 28)  # in colour, as large as the larger
    a, b = domain_rows(data)
    assert (len(a), len(b)) == (360, 14)  # 8 of 10 of each folder are for training, 7 stay
    grey = data.train.images[a]
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    flat = data.train.images[b]
    assert (flat[:, 2] == 200).all() and (flat[:, 1] == 0).all()
    assert set(flat[:, 0].unique().tolist()) <= {10 * n for n in range(10)}

    small = opened(*given, "dataset.size=8", "dataset.channels=1")
    assert small.image_shape == (1, 8, 8)
    blue = small.train.images[domain_rows(small)[1]].float()
    red = torch.arange(10) * 10
    expected = {round(0.299 * int(r) + 0.114 * 200) for r in red}
    assert set(blue.unique().int().tolist()) <= expected


def test_val_folders_of_both_are_the_val_split(tmp_path: Path) -> None:
    for name, number in (("x", 3), ("y", 4)):
        for split, count in (("train", 6), ("val", number), ("test", 2)):
            folder(tmp_path / name / split, name == "x", 8, count)
    given = ["dataset=two_domains", "dataset@dataset.a=image_folder", f"data_dir={tmp_path}"]
    given += ["dataset@dataset.b=image_folder", f"dataset.a.root={tmp_path / 'x'}"]
    both = opened(*given, f"dataset.b.root={tmp_path / 'y'}")
    assert (len(both.train), len(both.val), len(both.test)) == (24, 14, 8)
    mixed = opened(*given, f"dataset.b.root={tmp_path / 'y' / 'train'}")
    assert "val is held out of train: only one of the two domains has a val split" in mixed.report


def test_all_of_the_same_data_set_twice_are_still_two_domains() -> None:
    data = opened(*MINI)
    assert data.class_names == ("fashion_mini A", "fashion_mini B")
    assert len(data.train) == 7200


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("dataset.a_class=sneaker",), "dataset.a_class: 'sneaker' is not one of the classes of "
         "fashion_mini. Did you mean Sneaker?"),
        (("dataset.b_class=zebra",), "dataset.b_class: 'zebra' is not one of the classes of "
         "fashion_mini; expected one of T-shirt/top"),
    ],
)  # fmt: skip
def test_a_class_that_does_not_exist(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        opened(*MINI, *overrides)
    assert str(caught.value).startswith(message)


def test_a_class_of_images_without_classes(tmp_path: Path) -> None:
    for number in range(4):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    given = ("dataset@dataset.b=image_folder", f"dataset.b.root={tmp_path}", "dataset.b_class=cat")
    with pytest.raises(UserError, match=r"dataset.b_class: image_folder has no classes, .* null"):
        opened(MINI[0], MINI[1], *given, f"data_dir={tmp_path}")


def test_a_split_without_one_of_the_domains_is_told_before_training(tmp_path: Path) -> None:
    """And not by the first evaluation, or by the test at the end."""
    root = folder(tmp_path / "few", colour=False, size=8)
    for path in sorted((root / "right").iterdir())[1:]:
        path.unlink()
    given = (
        "dataset=image_folder", f"dataset.root={root}", "dataset.size=8", f"data_dir={tmp_path}",
        "method=cyclegan", "model.width=2", "model.blocks=1", "batch_size=1",
    )  # fmt: skip
    config = check(compose_plain([*given], None))
    with pytest.raises(UserError, match=r"no (val|test) image of domain right"):
        assemble(config, lambda reference: pytest.fail(reference))
