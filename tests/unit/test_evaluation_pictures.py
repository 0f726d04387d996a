"""Pictures: their shapes, and that they show the images they say."""

import torch
from parts import data_of, inference_on
from torch import Tensor

from dlrun.data.batches import Images, TwoViews, Unpaired
from dlrun.data.table import DataSet, Pixels, PixelScale, Table, some_rows
from dlrun.evaluation.pictures import COLUMNS, grid, pictures, view_picture, with_captions
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
    return data_of(*(table(n, channels, seed) for seed, n in enumerate((40, val, 30))))


def cell(picture: Tensor, row: int, column: int) -> Tensor:
    """The image that was enlarged into one cell."""
    top, left = row * (CELL + GAP), column * (CELL + GAP)
    return picture[:, top : top + CELL : CELL // SIDE, left : left + CELL : CELL // SIDE]


def shown(n: int, most: int) -> list[int]:
    """Which rows of n images are in the pictures."""
    rows: list[int] = some_rows(n, most, "pictures").tolist()
    return rows


STANDARDIZED, SYMMETRIC = (
    PixelScale.of(pixels, torch.full((1,), 0.5), torch.full((1,), 0.25))
    for pixels in ("standardized", "symmetric")
)


class Negative(Method):
    """Gives back the negative of an image, and samples noise."""

    def reconstruct(self, image: Tensor) -> Tensor:
        return 1 - STANDARDIZED.to_unit(image)

    def sample(self, n: int) -> Tensor:
        return torch.rand(n, 1, SIDE, SIDE)


class Translator(Method):
    """Translates an image to its negative, either way."""

    def translate(self, image: Tensor, direction: str) -> Tensor:
        return 1 - SYMMETRIC.to_unit(image)


def made(method: Method, data: DataSet, pixels: Pixels = "standardized") -> dict[str, Tensor]:
    return pictures(inference_on(method, data, pixels), seed=0)


class FirstPixel(Method):
    """Classifies by one pixel."""

    def predict(self, image: Tensor) -> Tensor:
        return torch.stack([image[:, 0, 0, 0], -image[:, 0, 0, 0]], 1)


class Features(Method):
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
    found = made(Negative(), data)
    assert set(found) == {"reconstructions", "samples"}
    picture = found["reconstructions"]
    assert picture.shape == (1, side(2), side(COLUMNS))
    for column, row in enumerate(shown(30, COLUMNS)):
        image = data.val.images[row].float() / 255
        torch.testing.assert_close(cell(picture, 0, column), image)
        torch.testing.assert_close(cell(picture, 1, column), 1 - image)
    assert found["samples"].shape == (1, side(5), side(COLUMNS))
    again, other = (pictures(inference_on(Negative(), data), seed)["samples"] for seed in (0, 1))
    assert torch.equal(found["samples"], again)
    assert not torch.equal(found["samples"], other)


def test_translations_show_the_image_the_translation_and_what_comes_back() -> None:
    data = data_set(channels=3)
    found = made(Translator(), data, "symmetric")
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
        images = data.val.images[data.val.labels == domain][shown(15, COLUMNS)].float() / 255
        for column in range(COLUMNS):
            three = [cell(picture, first_row + row, column) for row in range(3)]
            torch.testing.assert_close(three[0], images[column], atol=1e-5, rtol=0)
            torch.testing.assert_close(three[1], 1 - images[column], atol=1e-5, rtol=0)
            torch.testing.assert_close(three[2], images[column], atol=1e-5, rtol=0)


def test_predictions_have_a_row_for_each_class_with_mistakes_first_and_in_red() -> None:
    data = data_set(val=20)
    picture = made(FirstPixel(), data)["predictions"]
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
    assert "neighbours" not in made(FirstPixel(), data)


def test_predictions_of_a_network_that_always_says_the_same() -> None:
    class Always(Method):
        def predict(self, image: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(image), 2)

    picture = made(Always(), data_set())["predictions"]
    assert picture.shape == (3, side(2), side(COLUMNS))
    assert (cell(picture, 1, 0) == 1).all()  # no image was taken for the second class


def test_neighbours_stand_beside_the_val_image_nearest_first() -> None:
    data = data_set()
    queries = data.val.images[shown(30, 10)]
    train = torch.cat([queries, data.train.images[10:]])  # twins of the queries
    assert data.val.labels is not None
    labels = torch.cat([1 - data.val.labels[shown(30, 10)], data.train.labels[10:]])  # type: ignore
    data = DataSet(**{**vars(data), "train": Table(train, labels)})
    picture = made(Features(), data)["neighbours"]
    assert picture.shape == (3, side(10), side(COLUMNS))
    inner = slice(1, -1)
    for row in range(10):
        query, twin = cell(picture, row, 0), cell(picture, row, 1)
        expected = (queries[row].float() / 255).expand(3, -1, -1)
        torch.testing.assert_close(query[:, inner, inner], expected[:, inner, inner])
        torch.testing.assert_close(twin[:, inner, inner], expected[:, inner, inner])
        assert query[1, 0, 5] > query[0, 0, 5]  # green: itself
        assert twin[0, 0, 5] > twin[1, 0, 5]  # red: the twin was given the other class


def test_few_val_images_make_a_small_picture_and_without_any_train_images_are_shown() -> None:
    assert made(Negative(), data_set(val=3))["reconstructions"].shape == (1, side(2), side(3))
    data = data_set(val=0)
    image = data.train.images[shown(40, 40)[shown(40, 1)[0]]].float() / 255
    torch.testing.assert_close(cell(made(Negative(), data)["reconstructions"], 0, 0), image)


def test_pictures_leave_the_mode_alone() -> None:
    method = Features().train()
    made(method, data_set())
    assert method.training


def test_views_show_what_the_network_is_shown() -> None:
    data, scale = data_set(), STANDARDIZED
    image, other = (scale.from_bytes(x) for x in (data.train.images, data.train.images.flip(0)))
    index = torch.arange(40)
    single = view_picture(Images(image, index), scale)
    assert single is not None and single.shape == (1, side(1), side(COLUMNS))
    assert view_picture(Images(index, index), scale) is None  # of an own view
    for batch in (TwoViews(image, other, index), Unpaired(image, other)):
        picture = view_picture(batch, scale)
        assert picture is not None and picture.shape == (1, side(2), side(COLUMNS))
        torch.testing.assert_close(cell(picture, 0, 3), data.train.images[3].float() / 255)
        torch.testing.assert_close(cell(picture, 1, 3), data.train.images[36].float() / 255)


def test_rows_without_an_image_are_blank() -> None:
    assert grid([torch.zeros(0, 1, SIDE, SIDE)] * 2).shape == (1, side(2), side(1))
    assert bool((grid([torch.zeros(0, 1, SIDE, SIDE)]) == 1).all())


# --- captions ------------------------------------------------------------------------------------


def words_of(captions: list[str], channels: int = 1) -> Tensor:
    picture = torch.full((channels, 90, 50), 0.5)
    captioned = with_captions(picture, captions)
    assert torch.equal(captioned[:, :, -50:], picture)
    return captioned[:, :, :-50]


def test_a_caption_stands_beside_its_row() -> None:
    words = words_of(["horse", "", "as deer"])
    dark = (words[0] < 0.5).any(1)
    assert dark[:30].any() and not dark[30:60].any() and dark[60:].any()
    rows = dark[:30].nonzero()[:, 0]
    assert abs(float(rows.float().mean()) - 15) < 4  # in the middle of its row


def test_black_on_white_in_every_channel() -> None:
    words = words_of(["A", "B"], channels=3)
    assert words.shape[:2] == (3, 90)
    assert torch.equal(words[0], words[1]) and torch.equal(words[0], words[2])
    assert words.min() < 0.1 and (words == 1).float().mean() > 0.8


def test_other_words_are_another_picture_and_long_ones_are_cut() -> None:
    assert not torch.equal(words_of(["horse"]), words_of(["house"]))
    long = words_of([f"as {'a very long name of a class ' * 5}"])
    assert long.shape[2] < 200 and (long < 0.5).any()
