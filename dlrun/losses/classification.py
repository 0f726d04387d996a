"""Logits against class labels."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.options import Range


class CrossEntropy(nn.Module):
    """Softmax cross-entropy, in nats.

    With label smoothing s the target is `(1 - s) onehot + s / K` (Szegedy et al. 2016, section 7).
    """

    kind = "logits"

    @dataclass(frozen=True)
    class Config:
        label_smoothing: Annotated[float, Range(0, 1, high_open=True)]

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        smoothing = self.config.label_smoothing
        return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
