"""Exponential moving averages of parameters."""

import copy
from typing import TypeVar

import torch
from torch import nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def frozen_copy(online: AnyModule) -> AnyModule:
    """A copy without gradients."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def update_average(target: nn.Module, online: nn.Module, tau: float) -> None:
    """`target = tau target + (1 - tau) online`, over parameters; each keeps its own buffers."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - tau)
