"""Static binarisation: drawn, but once."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.losses.reconstruction import binarize


def noise(count: int, seed: int = 0, side: int = 28) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, side, side), generator=generator).float() / 255


def test_the_same_image_gives_the_same_in_any_batch() -> None:
    x = noise(20)
    drawn = binarize(x)
    assert torch.equal(binarize(x.flip(0)), drawn.flip(0))
    assert torch.equal(torch.cat([binarize(image) for image in x.split(1)]), drawn)


def test_black_and_white_stay_and_the_rest_becomes_one_of_them() -> None:
    x = noise(20)
    drawn = binarize(x)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert not drawn[x == 0].any()
    assert drawn[x == 1].all()
    assert drawn.dtype == x.dtype


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.integers(1, 254), st.integers(0, 10_000))
def test_white_is_as_frequent_as_the_grey_value_says(level: int, seed: int) -> None:
    """Of 100 images that differ in a corner only: by chance the mean is off by .002."""
    x = torch.full((100, 1, 28, 28), level / 255)
    x[:, 0, 0, :3] = noise(100, seed)[:, 0, 0, :3]
    assert binarize(x)[:, :, 1:].mean().item() == pytest.approx(level / 255, abs=0.01)


def test_pixels_are_independent_of_each_other_and_from_image_to_image() -> None:
    """Correlations of 4,000 draws are of the order of .016."""
    x = torch.full((4000, 1, 4, 4), 128 / 255)
    x[:, 0, 0, 0] = torch.arange(4000) % 256 / 255
    x[:, 0, 0, 1] = torch.arange(4000) // 256 / 255
    drawn = binarize(x).flatten(1)[:, 4:]
    between = torch.corrcoef(drawn.T) - torch.eye(12)
    assert between.abs().max() < 0.08
    follows = torch.corrcoef(torch.stack([drawn[1:].flatten(), drawn[:-1].flatten()]))[0, 1]
    assert follows.abs() < 0.03


def test_a_change_of_one_level_changes_the_whole_draw() -> None:
    x = torch.full((1, 1, 28, 28), 128 / 255)
    other = x.clone()
    other[0, 0, 5, 5] = 129 / 255
    assert 0.4 < (binarize(x) != binarize(other)).float().mean().item() < 0.6
