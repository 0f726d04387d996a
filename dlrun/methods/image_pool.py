"""CycleGAN's pool of earlier translations (Shrivastava et al. 2017, section 2.3)."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Shows the discriminator older images half of the time, so that it does not forget them.

    The first `size` images are stored and returned. After that each image is, with chance 1/2,
    swapped for a random one of the pool, which it replaces. All of it lies in buffers.
    """

    images: Tensor
    count: Tensor

    def __init__(self, size: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *image_shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def query(self, images: Tensor) -> Tensor:
        """Of new images (B, C, H, W): what the discriminator is shown in their place.

        float32, and detached: no gradient goes back to the generator.
        """
        images = images.detach().float()
        if self.size == 0:
            return images
        shown = []
        for image in images:  # one after the other: an image may meet those before it
            filling = self.count < self.size
            draw = torch.randint(self.size, (), device=image.device)
            slot = torch.where(filling, self.count, draw).view(1)
            swapped = ~filling & (torch.rand((), device=image.device) < 0.5)
            old = self.images.index_select(0, slot)[0]
            shown.append(torch.where(swapped, old, image))
            self.images.index_copy_(0, slot, torch.where(filling | swapped, image, old)[None])
            self.count += filling
        return torch.stack(shown)
