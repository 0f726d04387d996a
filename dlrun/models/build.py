"""From a model's config to a network."""

from torch import nn

from dlrun.options import Choice
from dlrun.registry import lookup


def build_model(choice: Choice, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """A freshly initialised network for images of `image_shape` (C, H, W).

    Raises:
        UserError: the model does not fit images of that size.
    """
    network: nn.Module = lookup("model", choice.name)(choice.options, image_shape, num_classes)
    return network
