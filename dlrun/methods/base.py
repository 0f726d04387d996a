"""The contract of a method: networks and a step, and nothing of the machine it runs on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from dlrun.data.table import Pixels
from dlrun.data.views import Labelled, View
from dlrun.losses.build import build_loss
from dlrun.models.build import build_model
from dlrun.options import Choice


class Update(Protocol):
    """The one way to train, under the precision and the accumulation that the run has."""

    step: int
    """Optimizer steps taken before this one."""

    @property
    def progress(self) -> float:
        """`step` as a share of the whole run, in [0, 1]."""

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        """Backward into the parameters of optimizer `name` only, and its step.

        Args:
            loss: a number to lower.
            name: a key of the method's `parameter_groups()`.
        """


@dataclass
class Builder:
    """Builds the networks and the loss that the config names, for the images of the data set."""

    model_choice: Choice
    loss_choice: Choice
    image_shape: tuple[int, int, int]
    num_classes: int
    built: list[nn.Module] = field(default_factory=list)

    def model(self) -> Any:
        """A fresh network of the model group; each call another one.

        An nn.Module with what its kind promises: an encoder has `feature_dim`, an autoencoder
        `encoder`, `decoder(code_dim)` and `hidden_dim`.
        """
        return self.network(self.model_choice)

    def network(self, choice: Choice) -> nn.Module:
        """A fresh network of a nested group, such as `method.discriminator`."""
        network: nn.Module = build_model(choice, self.image_shape, self.num_classes)
        self.built.append(network)
        return network

    def loss(self) -> Any:
        """The loss of the loss group.

        An nn.Module with what its kind promises: one of images has `mean(output)`.
        """
        return build_loss(self.loss_choice)


class Method(nn.Module):
    """One training method.

    A subclass builds its networks in `__init__(self, config, build)` and trains them in `step`. All
    that it has to remember is a parameter or a buffer, so that `state_dict()` is the whole of it.
    """

    Config: ClassVar[Any]
    """A frozen dataclass: the options, with types and ranges from `dlrun.options`."""
    view: ClassVar[type[View]] = Labelled
    """What a batch is."""
    model_kind: ClassVar[str] = "encoder"
    """Which models fit: encoder, autoencoder, generator."""
    loss_kind: ClassVar[str | None] = None
    """Which losses fit: logits, images, vectors, scores."""
    pixels: ClassVar[Pixels] = "standardized"
    """In which range its images are."""
    key_metric: ClassVar[str | None] = None
    """The val metric that chooses the best epoch; None: the last epoch is the best."""
    cpu_bf16: ClassVar[bool] = False
    """Whether bf16 is faster on the CPU, and as good as fp32 by docs/results.md."""

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """Which parameters belong to which optimizer; here one, 'main', over all that train."""
        return {"main": [p for p in self.parameters() if p.requires_grad]}

    def step(self, batch: Any, update: Update) -> dict[str, Tensor]:
        """One training step on a batch of `view`; returns numbers to be logged, as tensors ()."""
        raise TypeError(f"{type(self).__name__} has no step()")

    def after_update(self, update: Update) -> None:
        """Once per optimizer step, without gradients: a moving average, a queue."""
