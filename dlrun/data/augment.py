"""Batched augmentation on the device, each image with random draws of its own.

A view costs two small matrix products and one colour matrix an image, at any combination of parts:

* Crop, padding, flip and blur are linear and separable, so together they are one matrix for the
  rows and one for the columns of each image: `out = rows @ image @ columns^T`.
* Brightness, contrast, saturation, hue and greyscale are affine in (R, G, B), so in whatever order
  an image draws them they are one 3 x 3 matrix and an offset.

Where this differs from torchvision's per-image transforms: hue turns the YIQ plane instead of HSV's
hexagon, values are clamped to [0, 1] once at the end of the colour part instead of after each part
of it, and the blur comes before the colours (the same, but for that clamping).
"""

import math
from functools import cache

import torch
from torch import Tensor

from dlrun.data.augment_options import ViewConfig

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, the weights of PIL's and torchvision's greyscale
_CROP_ASPECT = (3 / 4, 4 / 3)  # torchvision's RandomResizedCrop, from Szegedy et al. 2015
_CROP_TRIES = 10  # likewise
_BLUR_SIGMA = (0.1, 2.0)  # pixels at BYOL's 224; here of a kernel of a tenth of the image


def augment(images: Tensor, view: ViewConfig) -> Tensor:
    """One random view of each image.

    Args:
        images: uint8 (B, C, H, W); colours are left alone unless C is 3, but for brightness and
            contrast.
        view: what is drawn.

    Returns:
        float32 (B, C, H, W) in [0, 1].
    """
    x = _warp(images.float(), view).div_(255) if _moves(view) else images.float().div_(255)
    if view.jitter or view.grayscale:
        x = _recolour(x, view)
    if view.solarize:
        inverted = _chance(len(x), view.solarize, x)[:, None, None, None] & (x >= 0.5)
        x = torch.where(inverted, 1 - x, x)
    return x


def _moves(view: ViewConfig) -> bool:
    return bool(view.pad or view.crop or view.flip or view.blur)


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


def _random_boxes(
    images: Tensor, area: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width, each (B,) whole pixels, as RandomResizedCrop draws them."""
    batch, _, height, width = images.shape
    shape, device = (_CROP_TRIES, batch), images.device
    target = torch.empty(shape, device=device).uniform_(*area) * (height * width)
    low, high = (math.log(ratio) for ratio in _CROP_ASPECT)
    aspect = torch.empty(shape, device=device).uniform_(low, high).exp()
    w, h = (target * aspect).sqrt().round(), (target / aspect).sqrt().round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.int().argmax(0, keepdim=True)  # the first try that fits
    w = w.gather(0, first)[0].clamp(1, width)
    h = h.gather(0, first)[0].clamp(1, height)
    top = (torch.rand(batch, device=device) * (height - h + 1)).floor()
    left = (torch.rand(batch, device=device) * (width - w + 1)).floor()
    return top, left, h, w


def _resample(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Matrices (B, size, size) that read `size` pixels off [start, start + length), bilinearly.

    Pixels outside the image read as zero, which is the padding of a shifted crop. A crop is never
    larger than the image, so it is never shrunk and needs no antialiasing.
    """
    out = torch.arange(size, device=start.device) + 0.5
    position = start[:, None] + out * (length / size)[:, None] - 0.5
    inside = (position > -0.5 - 1e-4) & (position < size - 0.5 + 1e-4)
    clamped = position.clamp(0, size - 1)  # the half pixel beside the edge repeats the edge
    pixels = torch.arange(size, device=start.device, dtype=position.dtype)
    weight = (1 - (clamped[:, :, None] - pixels).abs()).clamp_min_(0)
    return weight * inside[:, :, None]


def _blur(sigma: Tensor, blurred: Tensor, size: int) -> Tensor:
    """Gaussian blur with mirrored edges as matrices (B, size, size); the identity where not drawn."""
    radius = max(
        1, round(size / 20)
    )  # a kernel of about a tenth of the image, as in BYOL and SimCLR
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
    matrix = torch.eye(channels, device=x.device).repeat(batch, 1, 1)
    offset = torch.zeros(batch, channels, device=x.device)
    if view.jitter:
        matrix, offset = _jitter(x, view, luma, matrix, offset)
    if view.grayscale and channels == 3:
        grey = _chance(batch, view.grayscale, x)[:, None, None]
        to_grey = torch.where(grey, luma.expand(3, 3), torch.eye(3, device=x.device))
        matrix, offset = to_grey @ matrix, (to_grey @ offset[:, :, None])[:, :, 0]
    flat = torch.baddbmm(offset[:, :, None], matrix, x.flatten(2))
    return flat.clamp_(0, 1).view_as(x)


def _jitter(
    x: Tensor, view: ViewConfig, luma: Tensor, matrix: Tensor, offset: Tensor
) -> tuple[Tensor, Tensor]:
    """Four affine colour maps, in an order and with strengths that each image draws for itself."""
    batch, channels = x.shape[:2]
    eye = torch.eye(channels, device=x.device)
    mean = x.mean((2, 3))  # contrast turns about the mean grey of what the maps before it made

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
    drawn = _chance(batch, view.jitter, x)
    rows = torch.arange(batch, device=x.device)
    for turn in range(4):
        which = order[:, turn]
        step = torch.where(drawn[:, None, None], stacked[rows, which], eye)
        grey = ((matrix @ mean[:, :, None])[:, :, 0] + offset) @ luma
        add = torch.where((which == 1) & drawn, (1 - contrast[:, 0, 0]) * grey, 0.0)
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
