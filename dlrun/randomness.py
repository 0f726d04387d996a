"""Every random number is a function of integers, so a checkpoint needs none of their state."""

import hashlib

import torch
from torch import Tensor


def derived_seed(seed: int, *purpose: str | int) -> int:
    """63 bits that depend on the run's seed and on what they are for, and on nothing else.

    Torch's CPU generator uses the lowest 32 of them, its CUDA generator all.
    """
    text = ":".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator of its own for one purpose."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))


def seed_everything(seed: int, *purpose: str | int) -> None:
    """Sets the default generator of every device for one purpose, such as ('step', 17)."""
    number = derived_seed(seed, *purpose)
    # torch.manual_seed formats a stack trace for each device type that is not in use: 0.15 ms a
    # step, where a whole one may take 3.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


def permutation(n: int, seed: int, *purpose: str | int) -> Tensor:
    """A random order of n, int64 (n,)."""
    return torch.randperm(n, generator=generator(seed, *purpose))
