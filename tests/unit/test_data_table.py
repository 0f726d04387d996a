"""Tables, pixel statistics and pixel scales."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.data.table import DataSet, PixelScale, Table, pixel_statistics

CPU = torch.device("cpu")


def table(n: int = 6, channels: int = 3, labels: bool = True) -> Table:
    images = torch.arange(n * channels * 4 * 5).remainder(256).byte().view(n, channels, 4, 5)
    return Table(images, torch.arange(n) % 3 if labels else None, {"age": torch.arange(n) * 10})


def dataset(train: Table) -> DataSet:
    mean, std = pixel_statistics(train.images)
    return DataSet(
        name="own", train=train, val=table(2), test=table(3), class_names=("a", "b", "c"),
        domains=None, mean=mean, std=std, checksum="0",
    )  # fmt: skip


def test_gather_picks_rows_in_the_order_asked_for() -> None:
    data = table()
    got = data.gather(torch.tensor([4, 0, 4]), CPU)
    assert got.dtype == torch.uint8
    assert torch.equal(got, torch.stack([data.images[4], data.images[0], data.images[4]]))


def test_subset_keeps_the_columns_together() -> None:
    part = table().subset(torch.tensor([5, 2]))
    assert len(part) == 2
    assert torch.equal(part.images, table().images[[5, 2]])
    assert part.labels is not None and part.labels.tolist() == [2, 2]
    assert part.attributes["age"].tolist() == [50, 20]
    assert table(labels=False).subset(torch.tensor([1])).labels is None


def test_to_moves_every_column() -> None:
    moved = table().to(torch.device("meta"))
    assert moved.labels is not None
    columns = (moved.images, moved.labels, moved.attributes["age"])
    assert {column.device.type for column in columns} == {"meta"}
    assert table(labels=False).to(CPU).labels is None


def test_checksum_tells_pixels_labels_and_shape_apart() -> None:
    data = table()
    assert data.labels is not None
    same = Table(data.images.clone(), data.labels.clone(), dict(data.attributes))
    assert same.checksum() == data.checksum()
    assert Table(data.images, data.labels).checksum() != data.checksum()  # attributes count
    strided = Table(data.images.flip(0).flip(0).transpose(2, 3).contiguous().transpose(2, 3), None)
    assert strided.checksum() == Table(data.images, None).checksum()
    one_pixel = data.images.clone()
    one_pixel[0, 0, 0, 0] += 1
    others = [
        Table(one_pixel, data.labels),
        Table(data.images, data.labels.flip(0)),
        Table(data.images, None),
        Table(data.images.transpose(2, 3).reshape(6, 3, 4, 5), data.labels),
        Table(data.images.view(6, 3, 5, 4), data.labels),
    ]
    assert len({other.checksum() for other in [data, *others]}) == 6


@pytest.mark.parametrize(
    "images", [torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8)]
)
def test_images_that_are_no_table_are_refused(images: Tensor) -> None:
    with pytest.raises(TypeError, match=r"Table.images: got .*, expected a tensor uint8 \(N"):
        Table(images, None)


@pytest.mark.parametrize(
    "labels", [torch.zeros(2), torch.zeros(3, dtype=torch.long), torch.zeros(2, 1).long()]
)
def test_labels_that_do_not_fit_are_refused(labels: Tensor) -> None:
    with pytest.raises(TypeError, match=r"Table.labels: got .*, expected a tensor int64 \(2,\)"):
        Table(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), labels)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (torch.zeros(3), r"a tensor \(3,\) of torch.float32 for 'age', expected a tensor \(2,\)"),
        ([1, 2], r"got a list for 'age', expected a tensor \(2,\)"),
        (torch.tensor([True, False]), r"torch.bool for 'age', expected integers for classes"),
    ],
)
def test_attributes_that_do_not_fit_are_refused(column: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        Table(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None, {"age": column})


def test_a_data_set_knows_its_shape_classes_and_size() -> None:
    data = dataset(table())
    assert data.image_shape == (3, 4, 5)
    assert data.num_classes == 3
    assert data.bytes == (6 + 2 + 3) * 60
    moved = data.to(torch.device("meta"))
    splits = (moved.train, moved.val, moved.test)
    assert {split.images.device.type for split in splits} == {"meta"}
    assert moved.name == "own" and moved.class_names == data.class_names


shapes = st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


@given(shape=shapes, low=st.integers(0, 254), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_pixel_statistics_are_mean_and_std(shape: tuple[int, ...], low: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(low, 256, shape, dtype=torch.uint8, generator=generator)
    mean, std = pixel_statistics(images)
    expected_std, expected = torch.std_mean(images.double() / 255, (0, 2, 3), correction=0)
    assert mean.dtype == std.dtype == torch.float32
    torch.testing.assert_close(mean, expected.float(), atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(std, expected_std.float().clamp_min(1e-3), atol=1e-7, rtol=1e-5)


def test_pixel_statistics_of_many_pixels_lose_nothing() -> None:
    # 40 million pixels: a float32 sum would be off in the fourth digit.
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 4000, 5000)
    mean, std = pixel_statistics(images)
    assert mean.tolist() == [0.5] and std.tolist() == [0.5]


def test_a_constant_channel_has_no_zero_std() -> None:
    images = torch.full((3, 2, 4, 4), 7, dtype=torch.uint8)
    images[:, 1] = 255
    mean, std = pixel_statistics(images)
    torch.testing.assert_close(mean, torch.tensor([7 / 255, 1.0]))
    assert std.tolist() == pytest.approx([1e-3, 1e-3])
    assert PixelScale.of("standardized", mean, std).from_bytes(images).abs().max() < 1e-3


@pytest.mark.parametrize("pixels", ["unit", "symmetric", "standardized"])
def test_every_byte_comes_back_from_every_scale(pixels: str) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(2).view(2, 2, 8, 16)
    mean, std = torch.tensor([0.1, 0.7]), torch.tensor([0.02, 0.4])
    scale = PixelScale.of(pixels, mean, std)  # type: ignore[arg-type]
    x = scale.from_bytes(images)
    assert x.dtype == torch.float32 and x.shape == images.shape
    torch.testing.assert_close(scale.to_unit(x), images / 255, atol=1e-6, rtol=0)
    assert torch.equal((scale.to_unit(x) * 255).round().byte(), images)
    torch.testing.assert_close(scale.from_unit(images / 255), x)


def test_scales_are_what_they_are_called() -> None:
    images = torch.tensor([[0, 255], [51, 204]], dtype=torch.uint8).view(2, 2, 1, 1)
    mean, std = torch.tensor([0.2, 0.6]), torch.tensor([0.4, 0.1])

    def values(pixels: str) -> list[list[float]]:
        scale = PixelScale.of(pixels, mean, std)  # type: ignore[arg-type]
        return [row.flatten().tolist() for row in scale.from_bytes(images)]

    assert values("unit") == [pytest.approx([0, 1]), pytest.approx([0.2, 0.8])]
    assert values("symmetric") == [pytest.approx([-1, 1]), pytest.approx([-0.6, 0.6])]
    assert values("standardized") == [
        pytest.approx([-0.5, 4.0]),
        pytest.approx([0, 2.0], abs=1e-6),
    ]


def test_to_unit_clamps_what_a_network_overshoots() -> None:
    scale = PixelScale.of("symmetric", torch.zeros(1), torch.ones(1))
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.bfloat16).view(5, 1, 1, 1)
    unit = scale.to_unit(x)
    assert unit.dtype == torch.float32
    assert unit.flatten().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_from_unit_writes_into_its_argument_and_from_bytes_does_not() -> None:
    scale = PixelScale.of("symmetric", torch.zeros(1), torch.ones(1))
    unit = torch.ones(1, 1, 1, 1)
    assert scale.from_unit(unit) is unit
    images = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    scale.from_bytes(images)
    assert images.item() == 255
    assert scale.to(torch.device("meta")).shift.device.type == "meta"
