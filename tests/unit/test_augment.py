"""Batched augmentation against brute force and against torchvision's per-image transforms."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import PLAIN as NONE
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import functional as vision
from torchvision.transforms import v2

from dlrun.data import augment as module
from dlrun.data.augment import augment, is_random
from dlrun.data.options import ViewConfig

BYOL = replace(
    NONE, crop=(0.08, 1.0), flip=0.5, jitter=0.8, brightness=0.4, contrast=0.4, saturation=0.2,
    hue=0.1, grayscale=0.2, blur=0.5, blur_from=0, solarize=0.2,
)  # fmt: skip


LUMA = torch.tensor([0.299, 0.587, 0.114])


def noise(*shape: int, seed: int = 0) -> Tensor:
    """uint8 images of independent pixels: any move of them shows."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def smooth(batch: int, channels: int, size: int, low: int = 0, high: int = 255) -> Tensor:
    """uint8 images as photographs are: neighbours are alike."""
    coarse = noise(batch, channels, 5, 5, seed=1).float()
    fine = F.interpolate(coarse, size, mode="bicubic", align_corners=True).clamp(0, 255)
    return (low + fine * (high - low) / 255).round().byte()


def copies(image: Tensor, count: int) -> Tensor:
    return image.expand(count, *image.shape[-3:])


# --- one transform at a time, exactly ------------------------------------------------------------

shapes = st.tuples(
    st.integers(1, 4), st.integers(1, 4), st.integers(1, 33), st.integers(1, 33)
)  # fmt: skip


@given(shape=shapes)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_nothing_switched_on_is_the_image_itself(shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    assert torch.equal(augment(images, NONE), images.float() / 255)


@given(shape=shapes)
@settings(deadline=None, max_examples=20, derandomize=True)
def test_every_strength_at_zero_is_the_image_but_for_rounding(shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    # Each part is switched on, but has nothing to change.
    view = replace(NONE, jitter=1.0)
    torch.testing.assert_close(augment(images, view), images / 255, atol=1e-6, rtol=0)


def test_parts_that_are_not_drawn_leave_an_image_bit_equal() -> None:
    images = noise(64, 3, 9, 8)
    tiny = 1e-9  # switched on, never drawn
    view = replace(
        BYOL, crop=None, flip=tiny, jitter=tiny, grayscale=tiny, blur=tiny, solarize=tiny
    )
    torch.manual_seed(0)
    assert torch.equal(augment(images, view), images.float() / 255)


def test_padded_crops_are_exact_shifts_into_zeros_and_uniform() -> None:
    pad, count = 2, 4000
    image = noise(1, 3, 5, 7) // 2 + 1  # no zero of its own
    torch.manual_seed(0)
    out = augment(copies(image, count), replace(NONE, pad=pad))
    padded = F.pad(image[0].float() / 255, [pad] * 4)
    shifts = list(itertools.product(range(2 * pad + 1), repeat=2))
    windows = torch.stack([padded[:, i : i + 5, j : j + 7] for i, j in shifts])
    equal = (out.flatten(1)[:, None] == windows.flatten(1)[None]).all(2)
    assert torch.equal(equal.sum(1), torch.ones(count, dtype=torch.long))
    # 25 shifts, each 160 times, standard deviation 12.4
    assert (equal.sum(0) - 160).abs().max() < 5 * 12.4


@given(shape=shapes, pad=st.integers(0, 40), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25, derandomize=True)
def test_padded_crops_of_any_shape_are_exact(shape: tuple[int, ...], pad: int, seed: int) -> None:
    images = noise(*shape)
    height, width = shape[2:]
    torch.manual_seed(seed)
    out = augment(images, replace(NONE, pad=pad))
    for image, got in zip(F.pad(images.float() / 255, [pad] * 4), out, strict=True):
        windows = image.unfold(1, height, 1).unfold(2, width, 1)
        assert (windows == got[:, None, None]).flatten(3).all(3).all(0).any()


def test_flip_is_exact() -> None:
    images = noise(5, 2, 6, 9)
    assert torch.equal(augment(images, replace(NONE, flip=1.0)), images.flip(3).float() / 255)


def test_flip_comes_after_the_crop() -> None:
    images = noise(50, 1, 6, 9)
    torch.manual_seed(3)
    shifted = augment(images, replace(NONE, pad=3))
    torch.manual_seed(3)
    assert torch.equal(augment(images, replace(NONE, pad=3, flip=1.0)), shifted.flip(3))


def use_boxes(monkeypatch: pytest.MonkeyPatch, boxes: list[tuple[int, int, int, int]]) -> None:
    columns = torch.tensor(boxes, dtype=torch.float32).unbind(1)
    monkeypatch.setattr(module, "_random_boxes", lambda images, area: columns)


@given(data=st.data(), height=st.integers(1, 24), width=st.integers(1, 24))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_a_crop_is_the_box_resized(data: st.DataObject, height: int, width: int) -> None:
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    images = noise(1, 3, height, width)
    with pytest.MonkeyPatch.context() as patch:
        use_boxes(patch, [(top, left, h, w)])
        out = augment(images, replace(NONE, crop=(0.5, 1.0)))
    box = images[:, :, top : top + h, left : left + w].float() / 255
    expected = F.interpolate(box, (height, width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(out, expected, atol=2e-6, rtol=0)
    if width > 1:  # torch's antialiased resize ignores the rows of an image one pixel wide
        twin = vision.resized_crop(images / 255, top, left, h, w, [height, width], antialias=True)
        torch.testing.assert_close(out, twin, atol=2e-6, rtol=0)


def test_each_image_is_cropped_by_its_own_box(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = [(0, 0, 8, 8), (3, 1, 4, 6), (7, 7, 1, 1)]
    use_boxes(monkeypatch, boxes)
    images = noise(3, 1, 8, 8)
    out = augment(images, replace(NONE, crop=(0.5, 1.0)))
    for image, (top, left, h, w), got in zip(images, boxes, out, strict=True):
        box = image[None, :, top : top + h, left : left + w].float() / 255
        expected = F.interpolate(box, (8, 8), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(got, expected, atol=2e-6, rtol=0)


def test_the_whole_area_of_a_square_is_the_image() -> None:
    images = noise(20, 3, 32, 32)
    assert torch.equal(augment(images, replace(NONE, crop=(1.0, 1.0))), images.float() / 255)


@pytest.mark.parametrize(("height", "width"), [(10, 30), (30, 10), (9, 14), (64, 63), (1, 40)])
def test_boxes_that_cannot_fit_are_torchvisions(height: int, width: int) -> None:
    torch.manual_seed(0)
    images = noise(200, 1, height, width)
    boxes = torch.stack(module._random_boxes(images, (1.0, 1.0)), 1)
    twin = torchvision_boxes(images, (1.0, 1.0), 200)
    assert set(map(tuple, boxes.tolist())) == set(map(tuple, twin.tolist()))


def torchvision_boxes(images: Tensor, area: tuple[float, float], count: int) -> Tensor:
    transform = v2.RandomResizedCrop(8, scale=area)
    drawn = [transform.make_params([images[:1]]) for _ in range(count)]
    return torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn]).float()


@given(shape=shapes, low=st.floats(0.01, 1.0), high=st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_boxes_are_whole_pixels_inside_the_image(
    shape: tuple[int, ...], low: float, high: float
) -> None:
    area = (min(low, high), max(low, high))
    images = noise(64, *shape[1:])
    top, left, h, w = module._random_boxes(images, area)
    for value in (top, left, h, w):
        assert torch.equal(value, value.round())
        assert value.shape == (64,)
    assert (top >= 0).all() and (left >= 0).all() and (h >= 1).all() and (w >= 1).all()
    assert (top + h <= shape[2]).all() and (left + w <= shape[3]).all()


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (20, 48), (64, 40), (5, 3)])
@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_torchvisions(size: tuple[int, int], sigma: float) -> None:
    image = noise(1, 3, *size) / 255
    sigmas, drawn = torch.tensor([sigma]), torch.tensor([True])
    rows, columns = (module._blur(sigmas, drawn, side) for side in size)
    # The kernel spans about a tenth of the image.
    kernel = [2 * max(1, round(side / 20)) + 1 for side in reversed(size)]
    expected = vision.gaussian_blur(image, kernel, [sigma, sigma])
    torch.testing.assert_close(rows @ image @ columns.mT, expected, atol=1e-6, rtol=0)


def test_blur_of_one_image_leaves_its_neighbour_alone() -> None:
    matrix = module._blur(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 12)
    assert torch.equal(matrix[1], torch.eye(12))
    assert not torch.equal(matrix[0], torch.eye(12))
    torch.testing.assert_close(matrix.sum(2), torch.ones(2, 12))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (2, 2), (3, 1)])
def test_blur_of_images_smaller_than_its_kernel(size: tuple[int, int]) -> None:
    flat = torch.full((2, 3, *size), 200, dtype=torch.uint8)
    out = augment(flat, replace(NONE, blur=1.0))
    torch.testing.assert_close(out, torch.full_like(out, 200 / 255))


@pytest.mark.parametrize(
    ("size", "blurred"),
    [((12, 12), True), ((11, 12), False), ((12, 11), False), ((40, 11), False), ((12, 40), True)],
)
def test_images_whose_shorter_side_is_below_blur_from_are_not_blurred(
    size: tuple[int, int], blurred: bool
) -> None:
    images = noise(4, 3, *size)
    view = replace(NONE, blur=1.0, blur_from=12)
    torch.manual_seed(0)
    out = augment(images, view)
    assert torch.equal(out, images / 255) != blurred
    torch.manual_seed(0)
    always = augment(images, replace(view, blur_from=0))
    assert torch.equal(out, always) == blurred


def test_other_parts_are_drawn_alike_where_the_blur_is_left_out() -> None:
    images = noise(8, 3, 10, 10)
    for view in (replace(BYOL, blur=1.0, blur_from=11), replace(BYOL, blur=0.0)):
        torch.manual_seed(5)
        out = augment(images, view)
        if view.blur:
            first = out
    assert torch.equal(first, out)


def test_solarize_is_torchvisions() -> None:
    images = noise(4, 3, 8, 8)
    out = augment(images, replace(NONE, solarize=1.0))
    torch.testing.assert_close(out, vision.solarize(images / 255, 0.5), atol=0, rtol=0)
    assert torch.equal(out[images < 128], (images / 255)[images < 128])


def test_grayscale_is_torchvisions() -> None:
    images = noise(4, 3, 8, 8)
    out = augment(images, replace(NONE, grayscale=1.0))
    expected = vision.rgb_to_grayscale(images / 255, num_output_channels=3)
    torch.testing.assert_close(out, expected, atol=2e-4, rtol=0)  # its weights add up to 0.9999
    exact = torch.einsum("c,bchw->bhw", LUMA, images / 255)
    torch.testing.assert_close(out, exact[:, None].expand(4, 3, 8, 8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grayscale_and_hue_leave_other_channels_alone(channels: int) -> None:
    images = noise(16, channels, 6, 6)
    view = replace(NONE, grayscale=1.0, jitter=1.0, hue=0.5, saturation=0.9)
    torch.testing.assert_close(augment(images, view), images / 255, atol=1e-6, rtol=0)


def recoloured(
    image: Tensor, brightness: float, contrast: float, saturation: float, turn: float = 0.0
) -> Tensor:
    strengths = (torch.tensor([value]) for value in (brightness, contrast, saturation, turn))
    matrix, offset = module._colour_map(image, *strengths)
    return torch.einsum("bij,bjhw->bihw", matrix, image) + offset[:, None, None, None]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_colours_are_torchvisions_one_by_one_in_every_order(order: tuple[int, ...]) -> None:
    image = smooth(1, 3, 12, low=105, high=150) / 255  # so that no clamping acts
    turned = recoloured(torch.eye(3).view(1, 3, 3, 1), 1, 1, 1, 0.15)[0, :, :, 0]
    one_by_one: list[Callable[[Tensor], Tensor]] = [
        lambda x: vision.adjust_brightness(x, 1.15),
        lambda x: vision.adjust_contrast(x, 0.8),
        lambda x: vision.adjust_saturation(x, 1.3),
        lambda x: torch.einsum("ij,bjhw->bihw", turned, x),
    ]
    expected = image
    for which in order:
        expected = one_by_one[which](expected)
    assert expected.min() > 0 and expected.max() < 1
    got = recoloured(image, 1.15, 0.8, 1.3, 0.15)
    # torchvision's luma weights add up to 0.9999.
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_brightness_and_contrast_of_other_channels(channels: int) -> None:
    image = noise(2, channels, 6, 5) / 255
    got = recoloured(image, 1.2, 0.7, 0.1, 0.4)
    mean = 1.2 * image.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(got, 0.7 * (1.2 * image - mean) + mean, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("brightness", 3), ("contrast", 3), ("saturation", 3), ("brightness", 1), ("contrast", 1)],
)
def test_a_single_jitter_is_torchvisions_of_some_strength(name: str, channels: int) -> None:
    image = smooth(1, channels, 12, low=100, high=160)
    amount = 0.3
    torch.manual_seed(0)
    out = augment(copies(image, 300), replace(NONE, jitter=1.0, **{name: amount}))
    adjust = getattr(vision, f"adjust_{name}")
    # Each map is linear in its strength s: out = at(0) + s (at(1) - at(0)).
    zero = adjust(image[0] / 255, 0.0)
    slope = image[0] / 255 - zero
    strength = ((out - zero) * slope).flatten(1).sum(1) / slope.square().sum()
    fitted = zero + strength[:, None, None, None] * slope
    # torchvision's luma weights add up to 0.9999.
    torch.testing.assert_close(out, fitted, atol=1e-4 if channels == 3 else 2e-6, rtol=0)
    assert strength.min() >= 1 - amount - 1e-3 and strength.max() <= 1 + amount + 1e-3
    assert_uniform(strength, 1 - amount, 1 + amount)
    assert len(strength.unique()) == 300  # no two images share a draw


def test_hue_turns_the_chroma_and_keeps_the_luma() -> None:
    to_yiq = module._yiq(torch.device("cpu"))[0].double()
    image = noise(1, 3, 6, 6) / 255
    before = torch.einsum("ij,bjhw->bihw", to_yiq, image.double())
    after = torch.einsum("ij,bjhw->bihw", to_yiq, recoloured(image, 1, 1, 1, 0.1).double())
    torch.testing.assert_close(after[:, 0], before[:, 0], atol=1e-6, rtol=0)
    cos, sin = math.cos(0.2 * math.pi), math.sin(0.2 * math.pi)
    turned = [cos * before[:, 1] - sin * before[:, 2], sin * before[:, 1] + cos * before[:, 2]]
    torch.testing.assert_close(after[:, 1:], torch.stack(turned, 1), atol=1e-6, rtol=0)
    grey = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(recoloured(grey, 1, 1, 1, 0.3), grey)


@pytest.mark.parametrize("turn", [-0.1, -0.03, 0.03, 0.1])
def test_hue_turns_about_as_far_as_hsvs(turn: float) -> None:
    # The measure in the module's docstring, on smooth colours instead of photographs.
    image = smooth(8, 3, 16, low=40, high=215) / 255
    got = torch.cat([recoloured(one[None], 1, 1, 1, turn) for one in image]).clamp(0, 1)
    twin = vision.adjust_hue(image, -turn)  # HSV's hue runs against the angle
    far = (twin - image).abs().mean()
    assert 1.2 < (got - image).abs().mean() / far < 1.4
    assert 0.9 < (got - twin).abs().mean() / far < 1.2  # the other way round it would be 2.3


def test_hue_draws_its_turn_uniformly() -> None:
    to_yiq = module._yiq(torch.device("cpu"))[0].double()
    image = smooth(1, 3, 6, low=90, high=165)
    torch.manual_seed(0)
    out = augment(copies(image, 1000), replace(NONE, jitter=1.0, hue=0.1))

    def chroma(x: Tensor) -> Tensor:
        return torch.einsum("ij,bjhw->bihw", to_yiq, x.double())[:, 1:, 2, 2]

    angle = torch.atan2(chroma(out)[:, 1], chroma(out)[:, 0])
    turn = (angle - torch.atan2(*chroma(image / 255)[0].flip(0))) / (2 * math.pi)
    assert_uniform((turn + 0.5) % 1 - 0.5, -0.1, 0.1)
    assert len(out.flatten(1).unique(dim=0)) == 1000


def test_a_strength_is_never_below_zero() -> None:
    image = torch.full((1, 1, 2, 2), 100, dtype=torch.uint8)
    torch.manual_seed(0)
    out = augment(copies(image, 2000), replace(NONE, jitter=1.0, brightness=2.0))[:, 0, 0, 0]
    # 100 / 255 times a uniform draw from [0, 3]; from [-1, 3] a quarter would be black
    assert (out == 0).float().mean() < 0.01
    share_within(float((out < 100 / 255).float().mean()), 1 / 3, 2000)


# --- what is drawn: chances, independence, distributions -----------------------------------------


def assert_uniform(values: Tensor, low: float, high: float) -> None:
    """Kolmogorov's distance to the uniform distribution, at a chance of error of about 1e-5."""
    expected = (values.double().sort().values - low) / (high - low)
    steps = torch.arange(1, len(values) + 1) / len(values)
    assert (expected - steps).abs().max() < 2.5 / math.sqrt(len(values))


def share_within(share: float, chance: float, count: int) -> None:
    assert abs(share - chance) < 5 * math.sqrt(chance * (1 - chance) / count)


CHANCES: dict[str, dict[str, Any]] = {
    "flip": {"flip": 0.3},
    "jitter": {"jitter": 0.3, "brightness": 0.5},
    "grayscale": {"grayscale": 0.3},
    "blur": {"blur": 0.3},
    "solarize": {"solarize": 0.3},
}


@pytest.mark.parametrize("name", CHANCES)
def test_each_image_draws_its_own_chance(name: str) -> None:
    count = 3000
    image = smooth(1, 3, 8, low=20, high=240)
    torch.manual_seed(0)
    out = augment(copies(image, count), replace(NONE, **CHANCES[name]))
    changed = ((out - image / 255).abs().flatten(1).amax(1) > 1e-4).float()
    share_within(float(changed.mean()), 0.3, count)
    # Neighbours in the batch know nothing of each other.
    both = float((changed[1:] * changed[:-1]).mean())
    assert abs(both - 0.09) < 5 * math.sqrt(0.09 * 0.91 / count)


def test_the_parts_of_one_view_are_drawn_independently() -> None:
    count = 4000
    image = smooth(1, 3, 8, low=20, high=240)
    view = replace(NONE, flip=0.5, grayscale=0.5)
    torch.manual_seed(0)
    out = augment(copies(image, count), view)
    grey = (out.amax(1) - out.amin(1)).flatten(1).amax(1) < 1e-5
    luma = torch.einsum("c,bchw->bhw", LUMA, out)
    straight = torch.einsum("c,chw->hw", LUMA, image[0] / 255)
    flipped = (luma - straight).abs().flatten(1).amax(1) > 1e-3
    for value in (grey, flipped):
        share_within(float(value.float().mean()), 0.5, count)
    share_within(float((grey & flipped).float().mean()), 0.25, count)


def test_no_two_images_share_a_view() -> None:
    image = smooth(1, 3, 64, low=60, high=200)
    torch.manual_seed(0)
    out = augment(copies(image, 200), replace(BYOL, jitter=1.0))
    assert len(out.flatten(1).unique(dim=0)) == 200


def test_a_seed_decides_everything() -> None:
    images = noise(32, 3, 12, 12)
    torch.manual_seed(5)
    first = augment(images, replace(BYOL, pad=2))
    torch.manual_seed(5)
    assert torch.equal(augment(images, replace(BYOL, pad=2)), first)
    torch.manual_seed(6)
    assert not torch.equal(augment(images, replace(BYOL, pad=2)), first)


def test_crop_boxes_are_drawn_as_torchvision_draws_them() -> None:
    images = noise(20_000, 1, 40, 28)
    torch.manual_seed(0)
    ours = torch.stack(module._random_boxes(images, (0.08, 1.0)), 1)
    twin = torchvision_boxes(images, (0.08, 1.0), 3000)
    for name, function in {
        "area": lambda b: b[:, 2] * b[:, 3],
        "aspect": lambda b: (b[:, 3] / b[:, 2]).log(),
        "top": lambda b: b[:, 0],
        "left": lambda b: b[:, 1],
        "height": lambda b: b[:, 2],
    }.items():
        a, b = function(ours), function(twin)
        error = float(b.std()) / math.sqrt(3000)
        assert abs(float(a.mean() - b.mean())) < 5 * error, name
        assert abs(float(a.std() / b.std()) - 1) < 0.08, name
        assert kolmogorov(a, b) < 2.3 / math.sqrt(3000), name
    # Where a box stands is independent of the next image's.
    neighbours = torch.stack([ours[1:, 0], ours[:-1, 0]])
    assert abs(float(torch.corrcoef(neighbours)[0, 1])) < 5 / math.sqrt(20_000)


def kolmogorov(a: Tensor, b: Tensor) -> float:
    """The largest difference of the two empirical distribution functions."""
    points = torch.cat([a, b]).unique()
    shares = [
        torch.searchsorted(values.sort().values, points, right=True) / len(values)
        for values in (a, b)
    ]
    return float((shares[0] - shares[1]).abs().max())


def test_blur_draws_sigma_uniformly() -> None:
    impulse = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    impulse[0, 0, 16, 16] = 255
    torch.manual_seed(0)
    out = augment(copies(impulse, 2000), replace(NONE, blur=1.0))[:, 0]
    centre, beside = out[:, 16, 16].double(), out[:, 16, 17].double()
    seen = beside > 1e-30  # below a sigma of about 0.09 the neighbour's share is too small
    sigma = (0.5 / (centre[seen] / beside[seen]).log()).sqrt()
    assert seen.float().mean() > 0.97
    assert len(sigma.unique()) == len(sigma)  # no two images share one
    assert sigma.min() >= 0.1 and 1.97 < sigma.max() <= 2.0 + 1e-3
    assert_uniform(torch.cat([torch.full((int((~seen).sum()),), 0.1), sigma]), 0.1, 2.0)


def per_image(transform: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.stack([transform(image) for image in images / 255])


VIEWS: dict[str, tuple[dict[str, Any], Any]] = {
    "pad": ({"pad": 4}, v2.RandomCrop(20, padding=4)),
    "crop": ({"crop": (0.2, 0.8)}, v2.RandomResizedCrop(20, (0.2, 0.8), antialias=True)),
    "colour": (
        {"jitter": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4},
        v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4)], p=0.8),
    ),
    "crop to solarise": (
        {**vars(BYOL), "hue": 0.0, "blur": 0.0},
        v2.Compose([
            v2.RandomResizedCrop(20, (0.08, 1.0), antialias=True), v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.2)], p=0.8), v2.RandomGrayscale(0.2),
            v2.RandomSolarize(0.5, p=0.2),
        ]),
    ),
    "blur": ({"blur": 0.5}, v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], p=0.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_distributed_as_torchvisions(name: str, channels: int) -> None:
    options, transform = VIEWS[name]
    many, few = 6000, 1200
    image = smooth(1, channels, 20, low=30, high=225)
    torch.manual_seed(0)
    ours = augment(copies(image, many), replace(NONE, **options))
    twin = per_image(transform, copies(image, few))
    for label, function in {
        "mean": lambda x: x.mean((1, 2, 3)),
        "spread": lambda x: x.std((1, 2, 3)),
        "one pixel": lambda x: x[:, 0, 4, 7],
        "left against right": lambda x: x[..., :10].mean((1, 2, 3)) - x[..., 10:].mean((1, 2, 3)),
        "detail": lambda x: (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3)),
        "colour": lambda x: (x.amax(1) - x.amin(1)).mean((1, 2)),
    }.items():
        a, b = function(ours), function(twin)
        error = float(b.std()) / math.sqrt(few) + 1e-6
        assert abs(float(a.mean() - b.mean())) < 5 * error, label
        rounded = [values.mul(2000).round() for values in (a, b)]  # float noise makes no ties
        assert kolmogorov(*rounded) < 2.3 / math.sqrt(few) + 0.01, label


# --- every combination ---------------------------------------------------------------------------

chance, strength = st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 2)
views = st.builds(
    ViewConfig, pad=st.integers(0, 5), flip=chance, jitter=chance, brightness=strength,
    contrast=strength, saturation=strength, hue=st.floats(0, 0.5), grayscale=chance, blur=chance,
    solarize=chance, crop=st.sampled_from([None, (0.08, 1.0), (1.0, 1.0), (0.001, 0.01)]),
)  # fmt: skip


@given(view=views, shape=shapes)
@settings(deadline=None, max_examples=80, derandomize=True)
def test_any_view_of_any_shape_stays_in_range(view: ViewConfig, shape: tuple[int, ...]) -> None:
    images = noise(*shape)
    images[0] = 255  # the brightest image must not leave the range by rounding
    before = images.clone()
    out = augment(images, view)
    assert out.shape == images.shape and out.dtype == torch.float32
    assert out.isfinite().all() and out.min() >= 0 and out.max() <= 1
    assert torch.equal(images, before)


def test_white_stays_white_through_crop_and_blur() -> None:
    white = torch.full((500, 3, 32, 32), 255, dtype=torch.uint8)
    torch.manual_seed(0)
    out = augment(white, replace(NONE, crop=(0.08, 1.0), blur=1.0))
    assert out.max() <= 1 and out.min() > 1 - 1e-6


def test_a_batch_may_be_any_layout() -> None:
    images = noise(4, 3, 8, 8)
    torch.manual_seed(0)
    expected = augment(images, BYOL)
    torch.manual_seed(0)
    got = augment(images.contiguous(memory_format=torch.channels_last), BYOL)
    torch.testing.assert_close(got, expected)


def test_crop_bounds_the_wrong_way_round() -> None:
    with pytest.raises(ValueError, match=r"crop: got \[1.0, 0.08\], expected \[least, most\]"):
        replace(NONE, crop=(1.0, 0.08))


# --- whether an image looks different each time --------------------------------------------------

PARTS: dict[str, dict[str, Any]] = {
    **CHANCES,
    "pad": {"pad": 2},
    "crop": {"crop": (0.3, 0.9)},
    "contrast": {"jitter": 1.0, "contrast": 0.3},
    "hue": {"jitter": 1.0, "hue": 0.1},
    "saturation": {"jitter": 1.0, "saturation": 0.3},
}


@pytest.mark.parametrize("name", PARTS)
def test_each_part_makes_a_view_random(name: str) -> None:
    view = replace(NONE, **PARTS[name])
    assert is_random(view)
    images = smooth(30, 3, 12, low=20, high=240)
    torch.manual_seed(0)
    assert not torch.equal(augment(images, view), augment(images, view))


def test_what_is_not_random_is_the_same_each_time() -> None:
    still = replace(
        NONE, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur_from=32
    )  # strengths of a jitter that is never drawn
    assert not is_random(NONE) and not is_random(still)
    images = noise(5, 3, 9, 9)
    assert torch.equal(augment(images, still), augment(images, still))
