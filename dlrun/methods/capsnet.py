"""CapsNet: capsules with routing by agreement (Sabour, Frosst and Hinton 2017, arXiv 1710.09829).

The length of a class's capsule says whether the class is there; there is no softmax over classes. A
decoder reconstructs the image from the capsule of its class alone, so that the capsule has to know
how the image looks. Otherwise than in the paper: the learning rate falls along a cosine over the
run, theirs exponentially without an end. The lecture notes' 7.3.2 describes the network and leaves
out the loss, the mask in front of the decoder and the axis of the softmax, which are the paper's.

Expect: test error .69% on MNIST: dlrun train recipe=mnist_capsnet epochs=4, 31 minutes of one core
(docs/results.md).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import EvalBatch, Labelled
from dlrun.methods.base import Builder, Method, Update
from dlrun.models.autoencoder import MLPDecoder
from dlrun.options import NonNegative


class CapsNet(Method):
    """One capsule for each class, and a decoder behind them."""

    @dataclass(frozen=True)
    class Config:
        decoder: bool
        reconstruction_weight: NonNegative

    view = Labelled
    model_kind = "capsules"
    loss_kind = "lengths"
    pixels = "unit"
    key_metric = "accuracy"

    reconstruct: Callable[[Tensor], Tensor] | None = None
    """The image through the longest capsule, in [0, 1]; None, so no ability, without a decoder."""

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.capsules = build.model()
        self.loss = build.loss()
        self.decoder: MLPDecoder | None = None
        if config.decoder:
            code_dim = self.capsules.num_classes * self.capsules.class_dim
            options = MLPDecoder.Config(code_dim, (512, 1024))  # section 4.1
            self.decoder = MLPDecoder(options, build.image_shape, 0)
            self.reconstruct = self._reconstruct

    def step(self, batch: Labelled, update: Update) -> dict[str, Tensor]:
        """Equation 4, and the squared error of the image by its true class's capsule."""
        v = self.capsules(batch.image)
        lengths = _lengths(v)
        loss = margin = self.loss(lengths, batch.label).mean()
        metrics = {"margin": margin}
        if self.decoder is not None:
            error = _squared_error(_picture(self.decoder, v, batch.label), batch.image).mean()
            loss = margin + self.config.reconstruction_weight * error
            metrics["reconstruction"] = error
        update.minimize(loss)
        accuracy = (lengths.argmax(1) == batch.label).float().mean()
        return {"loss": loss, **metrics, "accuracy": accuracy}

    def predict(self, image: Tensor) -> Tensor:
        """The lengths (B, K), in [0, 1): scores, and no logits of a distribution."""
        return _lengths(self.capsules(image))

    def probabilities(self, output: Tensor) -> Tensor:
        """The lengths themselves: each class is there or not, so they need not sum to 1."""
        return output.float()

    def embed(self, image: Tensor) -> Tensor:
        """The class capsules, all of them (B, K class_dim)."""
        v: Tensor = self.capsules(image)
        return v.flatten(1)

    def _reconstruct(self, image: Tensor) -> Tensor:
        """From the longest capsule, since the class is not known here."""
        assert self.decoder is not None
        v = self.capsules(image)
        return _picture(self.decoder, v, _lengths(v).argmax(1))

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """Both losses apart; the squared error is that of `reconstruct`, summed over pixels."""
        v = self.capsules(batch.image)
        lengths, metrics = _lengths(v), {}
        if batch.label is not None:
            metrics["margin"] = self.loss(lengths, batch.label)
        if self.decoder is not None:
            picture = _picture(self.decoder, v, lengths.argmax(1))
            metrics["reconstruction"] = _squared_error(picture, batch.image)
        return metrics


def _lengths(v: Tensor) -> Tensor:
    """Of capsules (B, K, D): (B, K). The gradient at 0 is 0."""
    return torch.linalg.vector_norm(v, dim=2)


def _picture(decoder: nn.Module, v: Tensor, chosen: Tensor) -> Tensor:
    """Pixels in [0, 1], float32, of capsules (B, K, D), all but the chosen one (B,) masked out."""
    masked = v * F.one_hot(chosen, v.shape[1])[..., None]
    return torch.sigmoid(decoder(masked.flatten(1)).float())


def _squared_error(picture: Tensor, image: Tensor) -> Tensor:
    """Summed over the pixels of each image, (B,): a mean would ask for another weight."""
    return (picture - image).square().flatten(1).sum(1)
