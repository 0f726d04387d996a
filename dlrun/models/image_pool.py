"""CycleGAN's pool of earlier translations (Shrivastava et al. 2017, section 2.3)."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Shows the discriminator older images half of the time, so that it does not forget them.

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
