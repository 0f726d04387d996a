"""Two vectors against each other."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


def normalized_squared_distance(p: Tensor, z: Tensor) -> Tensor:
    """`|p/|p| - z/|z||^2 = 2 - 2 cos(p, z)` (Grill et al. 2020, arXiv 2006.07733, equation 2).

    The lecture notes' H divides by `|q| * |t|` without brackets around the product, which
    multiplies by the second norm; what is meant is the quotient by both, as here.

    Of vectors (B, D) and (B, D): (B,) in [0, 4], float32 also where they are not.
    """
    p, z = F.normalize(p.float(), dim=1), F.normalize(z.float(), dim=1)
    return 2 - 2 * (p * z).sum(1)


class Cosine(nn.Module):
    """`normalized_squared_distance`."""

    kind = "vectors"

    @dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        super().__init__()

    def forward(self, p: Tensor, z: Tensor) -> Tensor:
        """Of vectors (B, D) and (B, D): (B,) in [0, 4], float32 also where they are not."""
        return normalized_squared_distance(p, z)
