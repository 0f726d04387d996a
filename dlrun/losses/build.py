"""From a loss's config to the module."""

from torch import nn

from dlrun.options import Choice
from dlrun.registry import lookup


def build_loss(choice: Choice) -> nn.Module:
    """The loss with its options."""
    loss: nn.Module = lookup("loss", choice.name)(choice.options)
    return loss
