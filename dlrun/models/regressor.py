"""FitNets' regressor: from the student's feature to the shape of the teacher's."""

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError


class Regressor(nn.Module):
    """A 1 x 1 convolution, or of vectors a linear layer, with batch norm.

    Romero et al. 2015, arXiv 1412.6550, section 2.2. The norm keeps hints, whose weight is 10 and
    more, from diverging at usual learning rates. Without an activation, so that features of either
    sign can be matched; a map of another size is first averaged, or repeated, to the teacher's.
    Trained with the student, dropped with the loss.
    """

    def __init__(self, below: int, above: int, size: tuple[int, int] | None) -> None:
        super().__init__()
        self.size = size
        self.layer: nn.Module
        if size is not None:
            self.layer = nn.Sequential(
                nn.Conv2d(below, above, 1, bias=False), nn.BatchNorm2d(above)
            )
        else:
            self.layer = nn.Sequential(nn.Linear(below, above, bias=False), nn.BatchNorm1d(above))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, below, ...) to (B, above, *size)."""
        if self.size is not None and feature.shape[2:] != self.size:
            feature = F.adaptive_avg_pool2d(feature, self.size)
        output: Tensor = self.layer(feature)
        return output


def regressor_between(student: Tensor, teacher: Tensor) -> Regressor:
    """For features of these shapes, (1, C) or (1, C, H, W) both.

    Raises:
        UserError: one is a vector and the other a map, or neither.
    """
    shapes = [list(feature.shape[1:]) for feature in (student, teacher)]
    if student.ndim != teacher.ndim or student.ndim not in (2, 4):
        raise UserError(
            f"method.student_tap, method.teacher_tap: give features of shapes {shapes[0]} and "
            f"{shapes[1]}, expected two vectors or two maps"
        )
    size = (teacher.shape[2], teacher.shape[3]) if teacher.ndim == 4 else None
    return Regressor(student.shape[1], teacher.shape[1], size)
