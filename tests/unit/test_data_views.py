"""Every view, drawn from every kind of table."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from parts import PLAIN, batches_of

from dlrun.data.batches import (
    Batch,
    Grouped,
    Images,
    Labelled,
    TwoViews,
    Unpaired,
)
from dlrun.data.table import DataSet, Table, domain_rows, pixel_statistics
from dlrun.errors import UserError
from dlrun.randomness import seed_everything

VIEWS: dict[type[Batch], int] = {Images: 1, Labelled: 1, Grouped: 1, TwoViews: 2, Unpaired: 2}
"""How many images of each row a view shows."""


def dataset(
    sizes: tuple[int, ...] = (30, 12), channels: int = 1, labelled: bool = True,
    shape: tuple[int, int] = (4, 5), domains: tuple[int, int] | None = (0, 1),
    attributes: dict[str, torch.Tensor] | None = None,
) -> DataSet:  # fmt: skip
    """Image number i is filled with the byte 200 + i, classes lie interleaved."""
    total = sum(sizes)
    images = 200 + torch.arange(total, dtype=torch.uint8)[:, None, None, None]
    labels = torch.cat([torch.full((size,), c) for c, size in enumerate(sizes)])
    labels = labels[torch.randperm(total, generator=torch.Generator().manual_seed(0))]
    filled = images.expand(total, channels, *shape).clone()
    train = Table(filled, labels if labelled else None, attributes or {})
    mean, std = pixel_statistics(train.images)
    return DataSet(
        name="own", train=train, val=train, test=train.subset(torch.arange(3)),
        class_names=tuple("abcdefgh"[: len(sizes)]) if labelled else (),
        domains=domains if labelled else None, mean=mean, std=std, checksum="0",
    )  # fmt: skip


def rows_of(images: torch.Tensor) -> list[int]:
    """Which row each image is, by what it is filled with."""
    assert torch.equal(images, images[:, :1, :1, :1].expand_as(images))
    return ((images[:, 0, 0, 0] * 255).round().long() - 200).tolist()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("channels", "shape"), [(1, (28, 28)), (3, (32, 32)), (3, (6, 9)), (4, (5, 5))]
)
def test_every_view_of_every_kind_of_table(
    view: type[Batch], channels: int, shape: tuple[int, int]
) -> None:
    data = dataset(channels=channels, shape=shape)
    augmented = replace(
        PLAIN, pad=1, crop=(0.2, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4,
        saturation=0.2, hue=0.1, grayscale=0.2, blur=0.5, solarize=0.2,
    )  # fmt: skip
    batch = batches_of(data, view, first=augmented, pixels="symmetric").draw(0)
    parts = dict(vars(batch))
    assert parts.pop("attributes", {}) == {}
    for known in (parts.pop(name) for name in ("label", "index") if name in parts):
        assert known.shape == (8,) and known.dtype == torch.int64
    assert len(parts) == VIEWS[view]
    for image in parts.values():
        assert image.shape == (8, channels, *shape) and image.dtype == torch.float32
        assert image.min() >= -1 and image.max() <= 1


@pytest.mark.parametrize("view", [Images, Labelled, Grouped, TwoViews])
def test_index_label_and_attributes_are_of_the_row_that_is_shown(view: type[Batch]) -> None:
    columns = {"age": torch.rand(33), "kind": torch.arange(33) % 5, "none": torch.full((33,), -1)}
    data = dataset((10, 11, 12), domains=None, attributes=columns)
    drawn, labels = batches_of(data, view, size=11), data.train.labels
    assert labels is not None
    for number in range(6):
        batch: Any = drawn.draw(number)
        index = batch.index
        assert index.tolist() == rows_of(batch.first if view is TwoViews else batch.image)
        for column in () if view is Images else (batch.label,):
            assert column.dtype == torch.int64 and torch.equal(column, labels[index])
        found = getattr(batch, "attributes", {})
        assert found.keys() == (columns.keys() if issubclass(view, Labelled) else set())
        for name, column in found.items():
            assert column.dtype == columns[name].dtype
            assert torch.equal(column, columns[name][index])


@pytest.mark.parametrize("view", [Images, TwoViews])
def test_views_without_labels_need_none(view: type[Batch]) -> None:
    drawn = batches_of(dataset(labelled=False), view, size=6)
    assert not view.needs_labels and all(v.needs_labels for v in (Labelled, Grouped, Unpaired))
    assert drawn.length // drawn.size == 7
    batches: list[Any] = [drawn.draw(number) for number in range(7)]
    assert sorted(row for batch in batches for row in batch.index.tolist()) == list(range(42))
    assert all(getattr(batch, "label", None) is None for batch in batches)


def test_an_epoch_shows_each_image_once() -> None:
    drawn = batches_of(dataset(), Labelled, size=10)
    assert (drawn.length, drawn.length // drawn.size) == (42, 4)
    rows = [row for number in range(4) for row in rows_of(drawn.draw(number).image)]  # type: ignore[attr-defined]
    assert len(set(rows)) == 40


def test_two_views_are_drawn_apart_and_by_their_own_options() -> None:
    data = dataset()
    batch = batches_of(data, TwoViews, second=replace(PLAIN, solarize=1.0)).draw(0)
    assert isinstance(batch, TwoViews)
    assert rows_of(batch.first) == batch.index.tolist()
    assert torch.equal(batch.second, 1 - batch.first)
    dark = replace(PLAIN, jitter=1.0, brightness=0.05)  # never clamped
    torch.manual_seed(0)
    batch = batches_of(data, TwoViews, first=dark).draw(0)  # one set of options, two draws
    assert isinstance(batch, TwoViews)
    assert ((batch.first - batch.second).abs().flatten(1).amax(1) > 0).all()


@pytest.mark.parametrize("view", [Images, Labelled, Grouped])
def test_other_views_use_the_first_options(view: type[Batch]) -> None:
    batch: Any = batches_of(dataset(), view, second=replace(PLAIN, solarize=1.0)).draw(0)
    assert rows_of(batch.image) == batch.index.tolist()


def test_domains_are_drawn_from_their_classes_and_never_paired() -> None:
    data = dataset((30, 12), domains=(1, 0))
    a_rows, b_rows = domain_rows(data)
    assert (len(a_rows), len(b_rows)) == (12, 30)
    drawn = batches_of(data, Unpaired, size=6)
    assert (drawn.length, drawn.length // drawn.size) == (30, 5)
    shown_a, shown_b = [], []
    for number in range(5 * 200):
        batch = drawn.draw(number)
        assert isinstance(batch, Unpaired)
        shown_a += rows_of(batch.a)
        shown_b += rows_of(batch.b)
    assert set(shown_a) == set(a_rows.tolist()) and set(shown_b) == set(b_rows.tolist())
    # The small domain begins again, evenly; the large one is shown once an epoch.
    assert set(Counter(shown_b).values()) == {200}
    first_epoch = Counter(shown_a[:30])
    assert set(first_epoch.values()) == {2, 3}
    # Which a stands beside which b says nothing: all 360 pairs, 16.7 times each on average.
    pairs = Counter(zip(shown_a, shown_b, strict=True))
    assert len(pairs) == 360 and max(pairs.values()) < 45


def test_domains_of_equal_size_do_not_share_an_order() -> None:
    drawn = batches_of(dataset((20, 20)), Unpaired, size=20)
    a_rows, b_rows = (rows.tolist() for rows in domain_rows(drawn.data))
    for number in range(10):
        batch = drawn.draw(number)
        assert isinstance(batch, Unpaired)
        places_a = [a_rows.index(row) for row in rows_of(batch.a)]
        places_b = [b_rows.index(row) for row in rows_of(batch.b)]
        assert places_a != places_b


def test_two_of_many_classes_may_be_the_domains() -> None:
    data = dataset((8, 9, 10, 11), domains=(3, 1))
    assert data.train.labels is not None
    rows = domain_rows(data)
    assert [data.train.labels[part].unique().tolist() for part in rows] == [[3], [1]]
    assert Unpaired.length(data) == 11


def test_domains_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"needs two domains.*dataset.domains=\[...,...\].*a, b, c"):
        domain_rows(dataset((4, 4, 4), domains=None))
    with pytest.raises(UserError, match="from class folders"):
        Unpaired.length(dataset(labelled=False))
    data = dataset((30, 0))
    with pytest.raises(UserError, match="dataset=own: no train image of domain b"):
        domain_rows(data)
    lacking = replace(dataset(), test=dataset((5, 0)).train)
    with pytest.raises(UserError, match="no test image of domain b"):
        domain_rows(lacking, "test")


@pytest.mark.parametrize("view", VIEWS)
def test_a_batch_is_a_function_of_seed_and_number(view: type[Batch]) -> None:
    view_options = replace(PLAIN, flip=0.5, jitter=1.0, brightness=0.5)

    def draw(seed: int, number: int) -> torch.Tensor:
        seed_everything(seed, "step", number)
        batch = batches_of(dataset(), view, first=view_options, seed=seed).draw(number)
        return next(iter(vars(batch).values()))

    assert torch.equal(draw(0, 9), draw(0, 9))
    assert not torch.equal(draw(0, 9), draw(0, 10))
    assert not torch.equal(draw(0, 9), draw(1, 9))


def test_pixels_arrive_in_the_methods_range() -> None:
    data = dataset()
    rows = torch.tensor([0, 41])
    assert rows_of(batches_of(data, Images).images(rows)) == [0, 41]
    symmetric = batches_of(data, Images, pixels="symmetric").images(rows)
    assert symmetric[:, 0, 0, 0].tolist() == pytest.approx([200 / 127.5 - 1, 241 / 127.5 - 1])
    standard = batches_of(data, Images, pixels="standardized").images(torch.arange(42))
    assert float(standard.mean()) == pytest.approx(0, abs=1e-5)
    assert float(standard.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_memory_format() -> None:
    drawn = batches_of(dataset(channels=3), Images, memory_format=torch.channels_last)
    batch = drawn.draw(0)
    assert isinstance(batch, Images)
    assert batch.image.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("view", "length"), [(Images, 42), (Grouped, 44), (Unpaired, 30)])
def test_a_batch_larger_than_an_epoch(view: type[Batch], length: int) -> None:
    assert batches_of(dataset(), view, size=length).length == length
    with pytest.raises(
        UserError,
        match=rf"batch_size: got {length + 1}, .* own has {length} .* \[1, {length}\]",
    ):
        batches_of(dataset(), view, size=length + 1)


def test_drawing_leaves_the_table_as_it_is() -> None:
    data = dataset(channels=3)
    before = data.train.images.clone()
    drawn = batches_of(
        data, TwoViews, first=replace(PLAIN, jitter=1.0, brightness=0.9), pixels="standardized"
    )
    for number in range(5):
        drawn.draw(number)
    assert torch.equal(data.train.images, before)


def test_what_a_method_does_to_its_batch_in_place_stays_there() -> None:
    batches, fresh = batches_of(dataset(), Labelled), batches_of(dataset(), Labelled)
    for part in (batches.draw(0).image, batches.draw(0).label, batches.draw(0).index):
        part.zero_()
    for number in (0, 1):
        drawn, expected = batches.draw(number), fresh.draw(number)
        assert torch.equal(drawn.index, expected.index)
        assert torch.equal(drawn.label, expected.label)
