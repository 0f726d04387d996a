"""The contract of a method: networks and a step, and nothing of the machine it runs on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self, get_args

from torch import Tensor, nn

from dlrun.data.batches import Batch, Labelled
from dlrun.data.info import DataInfo
from dlrun.data.table import Pixels
from dlrun.errors import UserError
from dlrun.losses.base import bind
from dlrun.models.pretrained import Pretrained, freeze, load_backbone
from dlrun.models.rehearsal import check_network
from dlrun.options import Choice, Metric
from dlrun.registry import lookup


class Update(Protocol):
    """The one way to train, under the run's precision and accumulation."""

    step: int
    """Optimizer steps taken before this one."""

    @property
    def progress(self) -> float:
        """`step` as a fraction of the whole run, in [0, 1]."""

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        """Backward into the parameters of optimizer `name` only, and its step.

        Args:
            loss: a number to lower.
            name: a key of the method's `parameter_groups()`.
        """


class Section(Protocol):
    """Gives the part of a config that an option of a group, such as loss=hinge, selects."""

    def __call__(self, group: str, option: str, **values: Any) -> dict[str, Any]:
        """With `values` in place of its own."""


def _nothing_pretrained(reference: str) -> Pretrained:
    raise UserError(f"{reference}: pretrained weights cannot be looked up here")


@dataclass
class Builder:
    """Builds the networks and the loss that the config names, for the images of the data set."""

    model_choice: Choice
    loss_choice: Choice
    info: DataInfo
    epochs: float = 1.0
    """Passes over the train split that the run will make."""
    rows: int = 0
    """Images of the train split."""
    augmented: bool = True
    """Whether an image looks different each time it is shown."""
    pretrained: Callable[[str], Pretrained] = _nothing_pretrained
    """The weights of a run or a file, which the config names."""
    built: list[nn.Module] = field(default_factory=list)
    report: list[str] = field(default_factory=list)
    """Lines for people: what was loaded from where, what the options mean."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.info.image_shape

    @property
    def num_classes(self) -> int:
        """0 without labels."""
        return len(self.info.class_names)

    def model(self) -> Any:
        """A network of the model group, an nn.Module; each call builds another one.

        An encoder has `feature_dim`, an autoencoder `encoder`, `decoder(code_dim)` and
        `hidden_dim`, a decoder `code_dim`. It is freshly initialised, or starts from the weights
        that `init_from` in its options names.
        """
        return self.network(self.model_choice)

    def network(self, choice: Choice) -> nn.Module:
        """A network of a nested group, such as `method.discriminator`.

        Raises:
            UserError: it does not fit images of that size, or the weights do not fit it.
        """
        model = lookup("model", choice.name)
        network: nn.Module = model(choice.options, self.image_shape, self.num_classes)
        check_network(network, self.image_shape)
        init_from = getattr(choice.options, "init_from", None)
        if init_from is not None:
            self.report += load_backbone(network, self.pretrained(init_from), self.info)
        if getattr(choice.options, "freeze", None) == "backbone":
            freeze(network)
            start = "as loaded" if init_from else "at their random initialisation"
            self.report.append(f"model.freeze=backbone: weights and statistics stay {start}")
        self.built.append(network)
        return network

    def loss(self) -> Any:
        """The loss of the loss group, to be called with what its kind says.

        A loss of kind images also has `mean(output)`, one of kind distillation `compares` and
        `regressor`. Its options are `.config`.
        """
        return bind(lookup("loss", self.loss_choice.name), self.loss_choice.options)


class Method(nn.Module):
    """One training method.

    A subclass builds its networks in `__init__(self, config, build)` and trains them in `step`. Its
    whole state is in parameters and buffers, so that `state_dict()` has all of it.
    """

    Config: ClassVar[Any]
    """A frozen dataclass: the options, with types and ranges from `dlrun.options`."""
    view: ClassVar[type[Batch]] = Labelled
    """What a batch is: a class of `dlrun.data.batches`, or one of your own."""
    model_kind: ClassVar[str] = "encoder"
    """Which models fit: encoder, autoencoder, decoder, generator, capsules."""
    loss_kind: ClassVar[str | None] = None
    """Which losses fit: logits, distillation, triplets, lengths, images, vectors, scores."""
    pixels: ClassVar[Pixels] = "standardized"
    """The range of its images."""
    key_metric: ClassVar[str | None] = None
    """The val metric that chooses the best epoch; None: the last epoch is the best."""
    reporting_only: ClassVar[tuple[str, ...]] = ()
    """Options for the final report only: 0 or false in the trials of a study."""
    metrics: ClassVar[dict[str, Metric]] = {}
    """Describes its own metrics, which `validate` gives, by name."""
    parts: ClassVar[dict[str, str]] = {}
    """What other runs may load: prefixes of the names in its state, of `backbone` and `head`."""
    inference: ClassVar[tuple[str, ...]] = ("",)
    """Prefixes of the names in its state that its abilities need; the rest only trains."""
    classifies: bool = True
    """Whether `predict`, where there is one, gives the data set's classes."""

    def __init_subclass__(cls, **more: Any) -> None:
        """Raises TypeError where a class attribute is not what is stated above."""
        super().__init_subclass__(**more)
        if cls.pixels not in get_args(Pixels):
            raise TypeError(f"pixels is {cls.pixels!r}, expected one of {get_args(Pixels)}")
        if not isinstance(cls.key_metric, str | None):
            raise TypeError(f"key_metric is {cls.key_metric!r}, expected a metric's name or None")
        described = isinstance(cls.metrics, dict)
        if not described or not all(isinstance(m, Metric) for m in cls.metrics.values()):
            raise TypeError(
                f"metrics is {cls.metrics!r}, expected a dict from a name to a Metric of "
                "dlrun.options"
            )

    @classmethod
    def view_for(cls, config: Any) -> type[Batch]:
        """What a batch is under these options."""
        return cls.view

    @classmethod
    def key_metric_for(cls, config: Any) -> str | None:
        """The key metric under these options."""
        return cls.key_metric

    @classmethod
    def prerequisites(cls, plain: dict[str, Any], section: Section) -> dict[str, dict[str, Any]]:
        """The configs of the runs that a run needs first or is compared with, by role.

        They are trained before it. Where a role is the name of an option of the method that is
        null, the path of its run becomes the option's value; the others are compared with at the
        test.

        Args:
            plain: the config of the run, as nested dicts.
            section: such as section("method", "supervised", dropout=0.1), the part of a config that
                method=supervised selects, with dropout changed.
        """
        return {}

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """Which parameters belong to which optimizer; here one, 'main', over all that train."""
        return {"main": [p for p in self.parameters() if p.requires_grad]}

    def optimizers(self) -> dict[str, Choice]:
        """Parameter groups that have another optimizer than the run's, by name."""
        return {}

    def step(self, batch: Any, update: Update) -> dict[str, Tensor]:
        """One training step on a batch of `view`; returns numbers to be logged, as tensors ()."""
        raise TypeError(f"{type(self).__name__} has no step()")

    def after_update(self, update: Update) -> None:
        """Once per optimizer step, without gradients: a moving average, a queue."""

    def probabilities(self, output: Tensor) -> Tensor:
        """The output of `predict` (B, K) as probabilities of the classes (B, K)."""
        return output.float().softmax(1)

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which frozen networks stay in eval mode: batch norm would drift."""
        super().train(mode)
        for module in self.modules():
            if getattr(module, "frozen", False):
                module.train(False)
        return self
