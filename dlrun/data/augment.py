"""Batched augmentation on the device, with separate random draws for each image.

A view costs two small matrix products and one colour matrix an image, at any combination of parts:

* Crop, padding, flip and blur are linear and separable, so together they are one matrix for the
  rows and one for the columns of each image: `out = rows @ image @ columns^T`.
* Brightness, contrast, saturation, hue and greyscale are affine in (R, G, B), and do the same in
  any order, so together they are one 3 x 3 matrix and an offset.

Where this differs from torchvision's per-image transforms:

* Hue turns the YIQ plane, which keeps the luma, instead of HSV's hexagon, which does not. A tenth
  of a turn moves CIFAR-10's values by 0.032 of their range on average, HSV's moves them by 0.026,
  and the two end 0.028 apart.
* Values are clamped to [0, 1] once at the end of the colour part instead of after each part of it.
* The blur comes before the colours (the same, but for that clamping and the image's edge).
"""

import math
from functools import cache

import torch
from torch import Tensor

from dlrun.data.options import ViewConfig

_CROP_ASPECT = (3 / 4, 4 / 3)  # torchvision's RandomResizedCrop, from Szegedy et al. 2015
_CROP_TRIES = 10  # likewise
_BLUR_SIGMA = (0.1, 2.0)  # pixels, whatever the size of the image, as in BYOL's and SimCLR's code


def augment(images: Tensor, view: ViewConfig) -> Tensor:
    """One random view of each image.

    Args:
        images: uint8 (B, C, H, W); colours are left alone unless C is 3, but for brightness and
            contrast.
        view: what is drawn.

    Returns:
        float32 (B, C, H, W) in [0, 1].
    """
    x = images.float()
    if view.pad or view.crop or _blurs(view, images):
        x = _warp(x, view).clamp_max_(255)  # weights add up to 1 but for the last bit
    elif view.flip:
        x = torch.where(_mirrored(x, view)[:, None], x.flip(3), x)
    x = x.div_(255)
    if view.jitter or view.grayscale:
        x = _recolour(x, view)
    if view.solarize:
        inverted = _chance(len(x), view.solarize, x)[:, None, None, None] & (x >= 0.5)
        x = torch.where(inverted, 1 - x, x)
    return x


def is_random(view: ViewConfig) -> bool:
    """Whether an image may look different each time it is drawn."""
    chances = (view.flip, view.jitter, view.grayscale, view.blur, view.solarize)
    return bool(view.pad or view.crop or any(chances))


def _blurs(view: ViewConfig, images: Tensor) -> bool:
    return view.blur > 0 and min(images.shape[2:]) >= view.blur_from


def _chance(batch: int, probability: float, like: Tensor) -> Tensor:
    return torch.rand(batch, device=like.device) < probability


# --- where pixels come from ----------------------------------------------------------------------


def _mirrored(images: Tensor, view: ViewConfig) -> Tensor:
    """Which images are flipped, bool (B, 1, 1)."""
    return _chance(len(images), view.flip, images)[:, None, None]


def _warp(images: Tensor, view: ViewConfig) -> Tensor:
    """Crop, flip and blur in two batched products, float32 (B, C, H, W)."""
    batch, _, height, width = images.shape
    top, left = (torch.zeros(batch, device=images.device) for _ in range(2))
    crop_height, crop_width = torch.full_like(top, height), torch.full_like(left, width)
    if view.crop:
        top, left, crop_height, crop_width = _random_boxes(images, view.crop)
    if view.pad:
        shifts = torch.randint(-view.pad, view.pad + 1, (2, batch), device=images.device)
        top, left = top + shifts[0], left + shifts[1]
    rows = _resample(top, crop_height, height)
    columns = _resample(left, crop_width, width)
    if view.flip:
        columns = torch.where(_mirrored(images, view), columns.flip(1), columns)
    if _blurs(view, images):
        sigma = torch.empty(batch, device=images.device).uniform_(*_BLUR_SIGMA)
        blurred = _chance(batch, view.blur, images)
        rows = _blur(sigma, blurred, height) @ rows
        columns = _blur(sigma, blurred, width) @ columns
    return rows[:, None] @ images @ columns[:, None].mT


def _random_boxes(images: Tensor, area: tuple[float, float]) -> tuple[Tensor, ...]:
    """Top, left, height and width, each (B,) whole pixels, as RandomResizedCrop draws them."""
    batch, _, height, width = images.shape
    shape, device = (_CROP_TRIES, batch), images.device
    target = torch.empty(shape, device=device).uniform_(*area) * (height * width)
    low, high = (math.log(ratio) for ratio in _CROP_ASPECT)
    aspect = torch.empty(shape, device=device).uniform_(low, high).exp()
    w, h = (target * aspect).sqrt().round(), (target / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(0, keepdim=True)  # the first try that fits
    h, w = h.gather(0, first)[0], w.gather(0, first)[0]
    top = (torch.rand(batch, device=device) * (height - h + 1)).floor()
    left = (torch.rand(batch, device=device) * (width - w + 1)).floor()
    # Where none fits: the middle, as much of it as has an aspect in bounds.
    middle_h = round(min(height, width / _CROP_ASPECT[0]))
    middle_w = round(min(width, height * _CROP_ASPECT[1]))
    middle = ((height - middle_h) // 2, (width - middle_w) // 2, middle_h, middle_w)
    found = fits.any(0)
    boxes = zip((top, left, h, w), middle, strict=True)
    return tuple(torch.where(found, drawn, float(centred)) for drawn, centred in boxes)


def _resample(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Matrices (B, size, size) that read `size` pixels off [start, start + length), bilinearly.

    The half pixel beside the box's edge repeats the edge, as in `F.interpolate` of the box alone.
    Pixels outside the image read as zero, which is the padding of a shifted crop. A crop is never
    larger than the image, so it is never shrunk and needs no antialiasing.
    """
    out = torch.arange(size, device=start.device) + 0.5
    position = start[:, None] + out * (length / size)[:, None] - 0.5
    position = position.clamp(start[:, None], (start + length)[:, None] - 1)
    inside = (position > -0.5) & (position < size - 0.5)
    clamped = position.clamp(0, size - 1)
    pixels = torch.arange(size, device=start.device, dtype=position.dtype)
    weight = (1 - (clamped[:, :, None] - pixels).abs()).clamp_min_(0)
    return weight * inside[:, :, None]


def _blur(sigma: Tensor, blurred: Tensor, size: int) -> Tensor:
    """Gaussian blur with mirrored edges, (B, size, size); the identity where not drawn."""
    radius = max(1, round(size / 20))  # a kernel of a tenth of the image, as in BYOL and SimCLR
    taps = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = (-0.5 * (taps / sigma[:, None]) ** 2).exp()
    kernel = kernel / kernel.sum(1, keepdim=True)
    kernel = torch.where(blurred[:, None], kernel, (taps == 0).float())
    matrix = torch.zeros(len(sigma), size, size, device=sigma.device)
    rows = torch.arange(size, device=sigma.device)
    for tap, weight in zip(taps, kernel.unbind(1), strict=True):
        source = (rows + tap).abs()  # reflect without repeating the edge
        source = torch.where(source > size - 1, 2 * (size - 1) - source, source)
        matrix[:, rows, source] += weight[:, None]
    return matrix


# --- what colour they have -----------------------------------------------------------------------


def _recolour(x: Tensor, view: ViewConfig) -> Tensor:
    """Colour jitter and greyscale, with separate strengths for each image."""
    batch, channels = x.shape[:2]
    drawn = _chance(batch, view.jitter, x)

    def uniform(low: float, high: float, otherwise: float) -> Tensor:
        return torch.where(drawn, torch.empty_like(x[:, 0, 0, 0]).uniform_(low, high), otherwise)

    def strength(amount: float) -> Tensor:
        return uniform(max(0.0, 1 - amount), 1 + amount, 1.0)

    brightness, contrast = strength(view.brightness), strength(view.contrast)
    saturation, turn = strength(view.saturation), uniform(-view.hue, view.hue, 0.0)
    if channels == 3:
        grey = _chance(batch, view.grayscale, x)
        saturation = torch.where(grey, 0.0, saturation)
        drawn = drawn | grey
    matrix, offset = _colour_map(x, brightness, contrast, saturation, turn)
    eye = torch.eye(channels, device=x.device)
    matrix = torch.where(drawn[:, None, None], matrix, eye)  # the others stay bit-equal
    return torch.baddbmm(offset[:, None, None], matrix, x.flatten(2)).clamp_(0, 1).view_as(x)


def _colour_map(
    x: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, turn: Tensor
) -> tuple[Tensor, Tensor]:
    """Matrices (B, C, C) and offsets (B,) that change the colours of x (B, C, H, W).

    Brightness scales everything, contrast scales everything about the mean luma, saturation scales
    the chroma and hue turns it, by `turn` of a full one. So their order makes no difference.
    Without chroma, that is unless C is 3, saturation and hue do nothing.
    """
    batch, channels = x.shape[:2]
    gain = brightness * contrast
    if channels != 3:
        matrix = gain[:, None, None] * torch.eye(channels, device=x.device)
        luma = x.mean((1, 2, 3))
    else:
        chroma, angle = gain * saturation, 2 * math.pi * turn
        cos, sin, zero = chroma * angle.cos(), chroma * angle.sin(), torch.zeros_like(gain)
        inner = torch.stack([gain, zero, zero, zero, cos, -sin, zero, sin, cos], 1)
        to_yiq, from_yiq = _yiq(x.device)
        matrix = from_yiq @ inner.view(batch, 3, 3) @ to_yiq
        luma = x.mean((2, 3)) @ to_yiq[0]
    return matrix, brightness * (1 - contrast) * luma


@cache
def _yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    """From (R, G, B) to luma and two axes of chroma (NTSC 1953), and back."""
    forward = torch.tensor(
        [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
        dtype=torch.float64,
    )
    return forward.float().to(device), forward.inverse().float().to(device)
