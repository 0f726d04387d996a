"""The idx format of MNIST and its kin (http://yann.lecun.com/exdb/mnist, 'the IDX file format')."""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from dlrun.errors import UserError

_UNSIGNED_BYTES = 8


def read_idx(path: Path) -> Tensor:
    """A gzipped idx file of unsigned bytes as a uint8 tensor of its shape.

    Raises:
        UserError: it is not one, it is cut short, or it holds nothing.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a readable gzip file ({error})") from error
    rank = raw[3] if len(raw) > 4 else 0
    if raw[:3] != bytes((0, 0, _UNSIGNED_BYTES)) or not 1 <= rank <= 4:
        raise UserError(f"{path}: not an idx file of unsigned bytes")
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    start = 4 + 4 * rank
    held = max(0, len(raw) - start)
    if held != math.prod(shape) or not held:
        raise UserError(f"{path}: holds {held} bytes, its header says {math.prod(shape)}")
    return torch.frombuffer(bytearray(raw[start:]), dtype=torch.uint8).view(shape)
