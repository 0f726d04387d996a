"""Batched augmentation on the device, each image with random draws of its own.

A view costs two small matrix products and one colour matrix an image, at any combination of parts:

* Crop, padding, flip and blur are linear and separable, so together they are one matrix for the
  rows and one for the columns of each image: `out = rows @ image @ columns^T`.
* Brightness, contrast, saturation, hue and greyscale are affine in (R, G, B), so in whatever order
  an image draws them they are one 3 x 3 matrix and an offset.

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

from dlrun.data.augment_options import ViewConfig

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, the weights of PIL's and torchvision's greyscale
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
    if view.pad or view.crop or view.flip or view.blur:
        x = _warp(x, view).clamp_max_(255)  # weights add up to 1 but for the last bit
    x = x.div_(255)
    if view.jitter or view.grayscale:
        x = _recolour(x, view)
    if view.solarize:
        inverted = _chance(len(x), view.solarize, x)[:, None, None, None] & (x >= 0.5)
        x = torch.where(inverted, 1 - x, x)
    return x


def _chance(batch: int, probability: float, like: Tensor) -> Tensor:
    return torch.rand(batch, device=like.device) < probability


# --- where pixels come from ----------------------------------------------------------------------


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
        mirrored = _chance(batch, view.flip, images)[:, None, None]
        columns = torch.where(mirrored, columns.flip(1), columns)
    if view.blur:
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


@cache
def _yiq(device: torch.device) -> tuple[Tensor, Tensor]:
    forward = torch.tensor(
        [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
        dtype=torch.float64,
    )
    return forward.float().to(device), forward.inverse().float().to(device)


def _recolour(x: Tensor, view: ViewConfig) -> Tensor:
    batch, channels = x.shape[:2]
    if channels != 3:
        # Grey images (and any other number of channels) have brightness and contrast only.
        luma = torch.full((channels,), 1 / channels, device=x.device)
    else:
        luma = torch.tensor(LUMA, device=x.device)
    if view.jitter:
        matrix, offset = _jitter(x, view, luma)
    else:
        matrix = torch.eye(channels, device=x.device).expand(batch, channels, channels)
        offset = torch.zeros(batch, channels, device=x.device)
    if view.grayscale and channels == 3:
        grey = _chance(batch, view.grayscale, x)[:, None, None]
        to_grey = torch.where(grey, luma.expand(3, 3), torch.eye(3, device=x.device))
        matrix, offset = to_grey @ matrix, (to_grey @ offset[:, :, None])[:, :, 0]
    flat = torch.baddbmm(offset[:, :, None], matrix, x.flatten(2))
    return flat.clamp_(0, 1).view_as(x)


def _jitter(x: Tensor, view: ViewConfig, luma: Tensor) -> tuple[Tensor, Tensor]:
    """Four affine colour maps, in an order and with strengths that each image draws for itself."""
    batch, channels = x.shape[:2]
    eye = torch.eye(channels, device=x.device)

    def strength(amount: float) -> Tensor:
        return torch.empty(batch, 1, 1, device=x.device).uniform_(max(0.0, 1 - amount), 1 + amount)

    to_grey = luma.expand(channels, channels)
    brightness = strength(view.brightness) * eye
    contrast = strength(view.contrast)
    maps = [brightness, contrast * eye]
    if channels == 3:
        saturation = strength(view.saturation)
        maps += [saturation * eye + (1 - saturation) * to_grey, _hue(batch, view.hue, x.device)]
    else:
        maps += [eye.expand(batch, channels, channels)] * 2
    stacked = torch.stack([entry.expand(batch, channels, channels) for entry in maps], 1)
    order = torch.rand(batch, 4, device=x.device).argsort(1)
    matrix, offset = _in_turn(stacked, contrast[:, 0, 0], order, x.mean((2, 3)), luma)
    drawn = _chance(batch, view.jitter, x)[:, None]
    return torch.where(drawn[:, :, None], matrix, eye), torch.where(drawn, offset, 0.0)


def _in_turn(
    maps: Tensor, contrast: Tensor, order: Tensor, mean: Tensor, luma: Tensor
) -> tuple[Tensor, Tensor]:
    """One affine map (B, C, C) and (B, C) that does what four do one after the other.

    Args:
        maps: (B, 4, C, C): brightness, contrast, saturation, hue.
        contrast: (B,), its strength: it turns about the mean grey of what the maps before it made.
        order: int64 (B, 4), which map has the first turn, the second ...
        mean: (B, C) of the image's pixels.
        luma: (C,), the weights of grey.
    """
    batch, _, channels, _ = maps.shape
    matrix = torch.eye(channels, device=maps.device).expand(batch, channels, channels)
    offset = torch.zeros(batch, channels, device=maps.device)
    rows = torch.arange(batch, device=maps.device)
    for which in order.unbind(1):
        grey = ((matrix @ mean[:, :, None])[:, :, 0] + offset) @ luma
        add = torch.where(which == 1, (1 - contrast) * grey, 0.0)
        step = maps[rows, which]
        matrix = step @ matrix
        offset = (step @ offset[:, :, None])[:, :, 0] + add[:, None]
    return matrix, offset


def _hue(batch: int, amount: float, device: torch.device) -> Tensor:
    """Rotations of the chroma plane by up to `amount` of a full turn, (B, 3, 3)."""
    angle = torch.empty(batch, device=device).uniform_(-amount, amount) * (2 * math.pi)
    cos, sin = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(batch, 3, 3)
    to_yiq, from_yiq = _yiq(device)
    return from_yiq @ turn @ to_yiq
