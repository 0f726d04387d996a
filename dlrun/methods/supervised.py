"""Supervised learning: images to their labels, the lecture notes' custom training loop (2.3).

With their regularisation (2.2) and transfer learning (2.4: `model.init_from`, `model.freeze`).
Otherwise than in the notes: the loss takes logits (their example puts a softmax in front of
CrossEntropyLoss, which takes it twice).

Expect: accuracy .852 ± .007 on the included clothes, where the most frequent class has .100:
dlrun train method=supervised epochs=10, half a minute of two cores (docs/results.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from dlrun.data.batches import EvalBatch, Labelled
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import NonNegative, Range


class Supervised(Method):
    """An encoder and a linear layer."""

    @dataclass(frozen=True)
    class Config:
        dropout: Annotated[float, Range(0, 1, high_open=True)]
        l1: NonNegative
        l2: NonNegative

    view = Labelled
    model_kind = "encoder"
    loss_kind = "logits"
    key_metric = "accuracy"
    parts: ClassVar[dict[str, str]] = {"backbone": "encoder.", "head": "head."}

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.encoder = build.model()
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.encoder.feature_dim, build.num_classes)
        self.loss = build.loss()

    def step(self, batch: Labelled, update: Update) -> dict[str, Tensor]:
        """Predictions, loss, backward, step."""
        logits = self.predict(batch.image)
        loss = self.loss(logits, batch.label).mean()
        loss = loss + penalty(self.parameters(), self.config.l1, self.config.l2)
        update.minimize(loss)
        accuracy = (logits.argmax(1) == batch.label).float().mean()
        return {"loss": loss, "accuracy": accuracy}

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.head(self.dropout(self.encoder(image)))

    def embed(self, image: Tensor) -> Tensor:
        """The encoder's features (B, D)."""
        return self.encoder(image)

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """The loss of held-out images; their accuracy comes from `predict`."""
        return {"loss": self.loss(self.predict(batch.image), batch.label)}


def penalty(parameters: Iterable[nn.Parameter], l1: float, l2: float) -> Tensor | float:
    """l1 sum |w| + l2 sum w^2 over trained weights, not over biases and norms (the notes' 2.2)."""
    total: Tensor | float = 0.0
    if l1 or l2:
        for w in (p.float() for p in parameters if p.requires_grad and p.ndim > 1):
            total = total + l1 * w.abs().sum() + l2 * w.square().sum()
    return total
