"""CycleGAN's discriminator, one score for each patch, and the pool of the translations it is shown.

Zhu et al. 2017, arXiv 1703.10593, appendix 7.2, after Isola et al. 2017. With three strided
convolutions it sees patches of 70 x 70 and gives a 30 x 30 map at 256 pixels, and with width 64 and
three channels has 2,764,737 parameters.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.generator import initialise, instance_norm
from dlrun.options import Count, Range


class PatchGAN(nn.Sequential):
    """Image (B, C, H, W) to scores (B, 1, H', W'), high for real ones, without a sigmoid."""

    kind = "discriminator"

    @dataclass(frozen=True)
    class Config:
        width: Count
        layers: Annotated[int, Range(1, 5)]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        # Each strided convolution halves the map, each of the last two takes a pixel off it.
        side = min(image_shape[1:])
        if side // 2**config.layers < 3:
            fitting = [str(layers) for layers in range(1, config.layers) if side // 2**layers >= 3]
            raise UserError(
                f"method.discriminator.layers: got {config.layers}, too deep for images of "
                f"{image_shape[1]} x {image_shape[2]}: it takes sides of {3 * 2**config.layers} or "
                f"more; expected {' or '.join(fitting) or 'larger images, dataset.size'}"
            )
        strided = [min(config.width * 2**i, config.width * 8) for i in range(config.layers)]
        last = min(strided[-1] * 2, config.width * 8)
        layers: list[nn.Module] = [
            nn.Conv2d(image_shape[0], strided[0], 4, 2, 1),
            nn.LeakyReLU(0.2),
        ]
        for below, above in pairwise(strided):
            layers += [nn.Conv2d(below, above, 4, 2, 1), instance_norm(above), nn.LeakyReLU(0.2)]
        layers += [nn.Conv2d(strided[-1], last, 4, 1, 1), instance_norm(last), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(last, 1, 4, 1, 1))
        super().__init__(*layers)
        initialise(self)


class ImagePool(nn.Module):
    """Shows the discriminator older images half of the time, so that it does not forget them.

    Shrivastava et al. 2017, arXiv 1612.07828, section 2.3.

    The first `size` images are stored and returned. After that each image is, with probability
    1/2, swapped for a random one of the pool, which it replaces. All of it lies in buffers.
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self._filled: int | None = None  # count, so that a GPU is not waited for at each image
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """For new images (B, C, H, W): those that the discriminator is shown in their place.

        float32, and detached: no gradient goes back to the generator.
        """
        images = images.detach().float()
        if self.size == 0:
            return images
        filled = int(self.count) if self._filled is None else self._filled
        shown = []
        for image in images:  # one after the other: an image may meet those before it
            slot, swapped = int(torch.randint(self.size, ())), float(torch.rand(())) < 0.5
            if filled < self.size:
                self.images[filled] = image
                filled += 1
            elif swapped:
                old = self.images[slot].clone()
                self.images[slot] = image
                image = old
            shown.append(image)
        if filled != self._filled:
            self._filled = filled
            self.count.fill_(filled)
        return torch.stack(shown)


def _forget(pool: nn.Module, keys: object) -> None:
    """The buffers have been read from a checkpoint."""
    assert isinstance(pool, ImagePool)
    pool._filled = None
