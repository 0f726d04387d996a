"""A student's hidden representation against its teacher's: features and maps, one loss an image.

No gradient goes to the teacher. The modules that the config names are in
`dlrun.losses.distillation`.
"""

from torch import Tensor
from torch.nn import functional as F


def cosine_hidden(student: Tensor, teacher: Tensor) -> Tensor:
    """`1 - cos` of two hidden representations, flattened; in [0, 2].

    The one with more channels is averaged over neighbouring channels to the other's number, the
    larger map over neighbouring pixels to the other's height and width. Otherwise than in the
    PyTorch tutorial that the lecture notes follow: it pools the flattened map, so that what it
    averages is neighbouring pixels of a row and never two channels.

    Of vectors (B, D) and (B, D'), or maps (B, C, H, W) and (B, C', H', W'): (B,), float32.

    Raises:
        ValueError: one is a vector and the other is a map, or neither.
    """
    if student.ndim != teacher.ndim or student.ndim not in (2, 4):
        raise ValueError(
            f"got features {tuple(student.shape)} and {tuple(teacher.shape)}, expected two "
            "vectors (B, D) or two maps (B, C, H, W)"
        )
    size = [min(sizes) for sizes in zip(student.shape[1:], teacher.shape[1:], strict=True)]
    s, t = _pooled(student.float(), size), _pooled(teacher.detach().float(), size)
    return 1 - F.cosine_similarity(s.flatten(1), t.flatten(1), dim=1)


def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """`mean (teacher - student)^2` over all elements of an image's feature.

    Romero et al. 2015, FitNets, arXiv 1412.6550, equation 3, which has half the sum; of a mean, one
    weight fits features of all sizes. The student's comes through the regressor.

    Of two tensors of one shape (B, ...): (B,), float32.

    Raises:
        ValueError: the shapes differ.
    """
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            f"got features {tuple(student.shape)} and {tuple(teacher.shape)}, expected two of one "
            "shape (B, ...)"
        )
    return (student.float() - teacher.detach().float()).square().flatten(1).mean(1)


def attention_map(feature: Tensor) -> Tensor:
    """Where a network looks: squared activations, averaged over channels, of unit length.

    Zagoruyko and Komodakis 2017, arXiv 1612.03928, section 3.1, F^2_sum; divided by its Euclidean
    norm, with which sum and mean are one. Of (B, C, H, W): (B, H * W), float32; zeros where the
    feature is zero.
    """
    return F.normalize(_energy(feature).flatten(1), dim=1)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over places of the squared difference of the two attention maps.

    The authors' code of Zagoruyko and Komodakis 2017, arXiv 1612.03928; their equation 2 has the
    norm of the difference, halved. Maps are of unit length (`attention_map`). The larger one is
    averaged over neighbouring pixels to the smaller one's size before that; channels may differ.

    Of (B, C, H, W) and (B, C', H', W'): (B,), float32.

    Raises:
        ValueError: one of them is no map.
    """
    if student.ndim != 4 or teacher.ndim != 4:
        raise ValueError(
            f"got features {tuple(student.shape)} and {tuple(teacher.shape)}, expected two maps "
            "(B, C, H, W)"
        )
    s, t = _energy(student), _energy(teacher.detach())
    size = [1, *(min(sizes) for sizes in zip(s.shape[2:], t.shape[2:], strict=True))]
    s, t = (F.normalize(_pooled(energy, size).flatten(1), dim=1) for energy in (s, t))
    return (s - t).square().mean(1)


def _energy(feature: Tensor) -> Tensor:
    """Mean of squares over channels, of (B, C, H, W): (B, 1, H, W), float32."""
    return feature.float().square().mean(1, keepdim=True)


def _pooled(x: Tensor, size: list[int]) -> Tensor:
    """(B, *sizes) averaged to (B, *size), each axis over neighbours."""
    channels, *space = size
    if list(x.shape[2:]) != space:
        x = F.adaptive_avg_pool2d(x, (space[0], space[1]))
    if x.shape[1] != channels:
        columns = x.unsqueeze(-1).flatten(2).transpose(1, 2)
        x = F.adaptive_avg_pool1d(columns, channels).transpose(1, 2).reshape(len(x), *size)
    return x
