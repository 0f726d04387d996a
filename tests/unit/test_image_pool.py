"""CycleGAN's pool against a plain list that is given the same draws."""

import pytest
import torch
from parts import literal_query
from torch import Tensor

from dlrun.models.discriminator import ImagePool

SHAPE = (1, 2, 2)


def images(number: int, batch: int) -> Tensor:
    """Each different from all others: its own serial number."""
    serial = torch.arange(number * batch, (number + 1) * batch) + 1.0
    return serial[:, None, None, None].expand(batch, *SHAPE).clone()


@pytest.mark.parametrize(("size", "batch"), [(5, 1), (5, 3), (4, 8), (1, 4), (50, 4)])
def test_it_is_the_authors_pool(size: int, batch: int) -> None:
    pool, plain = ImagePool(size, SHAPE), []
    for number in range(20):
        new = images(number, batch)
        torch.manual_seed(number)
        expected = literal_query(plain, size, new)
        torch.manual_seed(number)
        assert torch.equal(pool.query(new), expected)
    assert int(pool.count) == min(size, 20 * batch)
    assert torch.equal(pool.images[: len(plain)], torch.stack(plain))


def test_state_dict_round_trip_in_the_middle() -> None:
    first, second = ImagePool(5, SHAPE), ImagePool(5, SHAPE)
    for number in range(3):  # with 2 images each: the fourth fills it halfway through
        torch.manual_seed(number)
        first.query(images(number, 2))
        if number == 1:
            second.load_state_dict(first.state_dict())
    torch.manual_seed(2)
    second.query(images(2, 2))
    for number in range(3, 10):
        torch.manual_seed(number)
        expected = first.query(images(number, 2))
        torch.manual_seed(number)
        assert torch.equal(second.query(images(number, 2)), expected)
    assert torch.equal(first.images, second.images)


@pytest.mark.parametrize("size", [0, 3])
def test_what_it_shows_carries_no_gradient_and_is_float32(size: int) -> None:
    pool = ImagePool(size, SHAPE)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(2, *SHAPE, dtype=dtype, requires_grad=True) * 2
        shown = pool.query(x)
        assert not shown.requires_grad
        assert shown.dtype == torch.float32
        assert torch.equal(shown, torch.full((2, *SHAPE), 2.0))


def test_a_pool_of_none_shows_what_it_is_given() -> None:
    pool, new = ImagePool(0, SHAPE), images(0, 3)
    for _ in range(3):
        assert torch.equal(pool.query(new), new)
    assert int(pool.count) == 0


def test_it_keeps_copies() -> None:
    pool, new = ImagePool(2, SHAPE), images(0, 2)
    pool.query(new)
    new.zero_()
    assert pool.images[:, 0, 0, 0].tolist() == [1, 2]


def test_a_pool_that_is_loaded_forgets_how_full_it_was() -> None:
    """A checkpoint of an emptier one is filled up before anything of it is shown."""
    full, empty = ImagePool(4, SHAPE), ImagePool(4, SHAPE)
    full.query(images(0, 4))
    full.load_state_dict(empty.state_dict())
    new = images(1, 4)
    assert torch.equal(full.query(new), new)
    assert int(full.count) == 4 and torch.equal(full.images, new)
