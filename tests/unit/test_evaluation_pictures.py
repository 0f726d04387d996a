"""Pictures: their shapes, and that they show the images they say."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from dlrun.data.batches import Images, TwoViews, Unpaired
from dlrun.data.table import DataSet, PixelScale, Table
from dlrun.evaluation.inference import Inference
from dlrun.evaluation.pictures import COLUMNS, grid, pictures, view_picture
from dlrun.methods.base import Method

SIDE, CELL = 16, 64  # 16 pixels are enlarged fourfold
GAP, BETWEEN = 2, 8


def side(cells: int) -> int:
    return cells * (CELL + GAP) - GAP


def table(count: int, channels: int, seed: int) -> Table:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, channels, SIDE, SIDE), generator=generator)
    return Table(images.to(torch.uint8), torch.arange(count) % 2)


def data_set(channels: int = 1, val: int = 30) -> DataSet:
    return DataSet(
        name="noise", train=table(40, channels, 0), val=table(val, channels, 1),
        test=table(30, channels, 2), class_names=("a", "b"), domains=(0, 1),
        mean=torch.full((channels,), 0.5), std=torch.full((channels,), 0.25), checksum="",
    )  # fmt: skip


def inference(method: Method, data: DataSet, pixels: Any = "standardized") -> Inference:
    scale = PixelScale.of(pixels, data.mean, data.std)
    return Inference(method, data, scale, torch.device("cpu"), torch.contiguous_format, nullcontext)


def cell(picture: Tensor, row: int, column: int) -> Tensor:
    """The image that was enlarged into one cell."""
    top, left = row * (CELL + GAP), column * (CELL + GAP)
    return picture[:, top : top + CELL : CELL // SIDE, left : left + CELL : CELL // SIDE]


class Negative(Method):
    """Gives back the negative of an image, and samples noise."""

    def __init__(self, scale: PixelScale) -> None:
        super().__init__()
        self.scale = scale

    def reconstruct(self, image: Tensor) -> Tensor:
        return 1 - self.scale.to_unit(image)

    def sample(self, n: int) -> Tensor:
        return torch.rand(n, 1, SIDE, SIDE)


class Translator(Method):
    """Translates an image to its negative, either way."""

    def __init__(self, scale: PixelScale) -> None:
        super().__init__()
        self.scale = scale

    def translate(self, image: Tensor, direction: str) -> Tensor:
        return 1 - self.scale.to_unit(image)


class FirstPixel(Method):
    """Classifies by one pixel."""

    def predict(self, image: Tensor) -> Tensor:
        return torch.stack([image[:, 0, 0, 0], -image[:, 0, 0, 0]], 1)


class Pixels(Method):
    def embed(self, image: Tensor) -> Tensor:
        return image.flatten(1)


def test_grid_enlarges_by_a_whole_factor_with_white_between() -> None:
    rows = [torch.zeros(3, 1, SIDE, SIDE), torch.full((2, 1, SIDE, SIDE), 0.5)]
    picture = grid(rows)
    assert picture.shape == (1, side(2), side(3))
    assert (cell(picture, 0, 2) == 0).all()
    assert (cell(picture, 1, 1) == 0.5).all()
    assert (cell(picture, 1, 2) == 1).all()  # a row that is shorter ends in white
    assert (picture[:, CELL : CELL + GAP] == 1).all()
    assert (picture[..., CELL : CELL + GAP] == 1).all()


def test_grid_takes_images_larger_than_a_cell_as_they_are() -> None:
    assert grid([torch.zeros(1, 3, 100, 100)]).shape == (3, 100, 100)
    assert grid([torch.zeros(2, 3, 28, 28)]).shape == (3, 56, 56 + GAP + 56)


def test_reconstructions_stand_below_the_first_val_images() -> None:
    data = data_set()
    runner = inference(Negative(PixelScale.of("standardized", data.mean, data.std)), data)
    found = pictures(runner, seed=0)
    assert set(found) == {"reconstructions", "samples"}
    picture = found["reconstructions"]
    assert picture.shape == (1, side(2), side(COLUMNS))
    for column in range(COLUMNS):
        image = data.val.images[column].float() / 255
        torch.testing.assert_close(cell(picture, 0, column), image)
        torch.testing.assert_close(cell(picture, 1, column), 1 - image)
    assert found["samples"].shape == (1, side(5), side(COLUMNS))


def test_samples_are_a_function_of_the_seed() -> None:
    data = data_set()
    runner = inference(Negative(PixelScale.of("standardized", data.mean, data.std)), data)
    first, again, other = (pictures(runner, seed)["samples"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_translations_show_the_image_the_translation_and_what_comes_back() -> None:
    data = data_set(channels=3)
    method = Translator(PixelScale.of("symmetric", data.mean, data.std))
    found = pictures(inference(method, data, "symmetric"), seed=0)
    assert set(found) == {"translations"}
    picture = found["translations"]
    assert picture.shape[:2] == (3, side(6) + BETWEEN)  # a white band between the directions
    half = side(3) + GAP
    assert (picture[:, half : half + BETWEEN] == 1).all()
    words = picture[:, :, : -side(COLUMNS)]
    assert words.min() == 0 and words.shape[2] > 20
    picture = torch.cat([picture[:, :half], picture[:, half + BETWEEN :]], 1)[..., -side(COLUMNS) :]
    assert data.val.labels is not None
    for first_row, domain in ((0, 0), (3, 1)):
        images = data.val.images[data.val.labels == domain].float() / 255
        for column in range(COLUMNS):
            shown = [cell(picture, first_row + row, column) for row in range(3)]
            torch.testing.assert_close(shown[0], images[column], atol=1e-5, rtol=0)
            torch.testing.assert_close(shown[1], 1 - images[column], atol=1e-5, rtol=0)
            torch.testing.assert_close(shown[2], images[column], atol=1e-5, rtol=0)


def test_predictions_have_a_row_for_each_class_with_mistakes_first_and_in_red() -> None:
    data = data_set(val=20)
    picture = pictures(inference(FirstPixel(), data), seed=0)["predictions"]
    assert picture.shape[:2] == (3, side(2))
    pixel = data.val.images[:, 0, 0, 0].float()
    taken = (pixel / 255 < 0.5).long()
    assert data.val.labels is not None
    for c in range(2):
        rows = (taken == c).nonzero()[:, 0]
        mistakes = int((data.val.labels[rows] != c).sum())
        frames = [cell(picture, c, column)[:, 0, 5] for column in range(min(len(rows), COLUMNS))]
        red = [bool(frame[0] > frame[1]) for frame in frames]
        assert red == [True] * mistakes + [False] * (len(red) - mistakes)
    assert "neighbours" not in pictures(inference(FirstPixel(), data), seed=0)


def test_predictions_of_a_network_that_always_says_the_same() -> None:
    class Always(Method):
        def predict(self, image: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(image), 2)

    picture = pictures(inference(Always(), data_set()), seed=0)["predictions"]
    assert picture.shape == (3, side(2), side(COLUMNS))
    assert (cell(picture, 1, 0) == 1).all()  # no image was taken for the second class


def test_neighbours_stand_beside_the_val_image_nearest_first() -> None:
    data = data_set()
    train = torch.cat([data.val.images[:10], data.train.images[10:]])  # twins of the queries
    assert data.val.labels is not None
    data = DataSet(**{**vars(data), "train": Table(train, 1 - data.train.labels)})  # type: ignore
    picture = pictures(inference(Pixels(), data), seed=0)["neighbours"]
    assert picture.shape == (3, side(10), side(COLUMNS))
    inner = slice(1, -1)
    for row in range(10):
        query, twin = cell(picture, row, 0), cell(picture, row, 1)
        expected = (data.val.images[row].float() / 255).expand(3, -1, -1)
        torch.testing.assert_close(query[:, inner, inner], expected[:, inner, inner])
        torch.testing.assert_close(twin[:, inner, inner], expected[:, inner, inner])
        assert query[1, 0, 5] > query[0, 0, 5]  # green: itself
        assert twin[0, 0, 5] > twin[1, 0, 5]  # red: the twin was given the other class


def test_without_a_val_split_the_test_images_are_shown() -> None:
    data = data_set(val=0)
    runner = inference(Negative(PixelScale.of("standardized", data.mean, data.std)), data)
    picture = pictures(runner, seed=0)["reconstructions"]
    image = data.test.images[0].float() / 255
    torch.testing.assert_close(cell(picture, 0, 0), image)


def test_a_few_val_images_make_a_small_picture() -> None:
    data = data_set(val=3)
    runner = inference(Negative(PixelScale.of("standardized", data.mean, data.std)), data)
    assert pictures(runner, seed=0)["reconstructions"].shape == (1, side(2), side(3))


def test_pictures_leave_the_mode_alone() -> None:
    method = Pixels().train()
    pictures(inference(method, data_set()), seed=0)
    assert method.training


def test_views_show_what_the_network_is_shown() -> None:
    data = data_set()
    scale = PixelScale.of("standardized", data.mean, data.std)
    image = scale.from_bytes(data.train.images)
    other = scale.from_bytes(data.train.images.flip(0))
    index = torch.arange(40)
    assert view_picture(Images(image, index), scale).shape == (1, side(1), side(COLUMNS))
    for batch in (TwoViews(image, other, index), Unpaired(image, other)):
        picture = view_picture(batch, scale)
        assert picture.shape == (1, side(2), side(COLUMNS))
        torch.testing.assert_close(cell(picture, 0, 3), data.train.images[3].float() / 255)
        torch.testing.assert_close(cell(picture, 1, 3), data.train.images[36].float() / 255)
