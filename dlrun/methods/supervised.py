"""Supervised classification: the lecture notes' custom training loop.

One network, one loss, labelled batches (the notes' section 2.3). Otherwise than there: the loss
takes logits (their example puts a softmax in front of CrossEntropyLoss, which takes it twice).

Expect: docs/results.md, "supervised".
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from dlrun.data.views import Labelled
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import Range


class Supervised(Method):
    """An encoder and a linear layer, trained on labels."""

    @dataclass(frozen=True)
    class Config:
        dropout: Annotated[float, Range(0, 1, high_open=True)]

    view = Labelled
    model_kind = "encoder"
    loss_kind = "logits"
    key_metric = "accuracy"
    cpu_bf16 = True

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.encoder = build.model()
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(self.encoder.feature_dim, build.num_classes)
        self.loss = build.loss()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self.head(self.dropout(self.encoder(x)))
        return logits

    def step(self, batch: Labelled, update: Update) -> dict[str, Tensor]:
        """Predictions, loss, backward, step."""
        logits = self(batch.image)
        loss = self.loss(logits, batch.label).mean()
        update.minimize(loss)
        return {"loss": loss, "accuracy": (logits.argmax(1) == batch.label).float().mean()}

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self(image)
        return logits

    def embed(self, image: Tensor) -> Tensor:
        """The encoder's features (B, D)."""
        features: Tensor = self.encoder(image)
        return features

    def validate(self, image: Tensor, label: Tensor | None) -> dict[str, Tensor]:
        """The loss of held-out images."""
        return {"loss": self.loss(self(image), label)}
