"""The one way to train: backward, scaling, accumulation, clipping, step."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlrun.errors import UserError
from dlrun.training.hardware import Hardware
from dlrun.training.ranks import SINGLE, Ranks


class Update:
    """Implements `methods.base.Update` over named optimizers.

    Args:
        optimizers: by the names of the method's parameter groups.
        hardware: precision and loss scaling.
        rate: optimizer step to the factor of the learning rate.
        total: optimizer steps of the whole run.
        accumulate: batches whose gradients make one optimizer step.
        clip_norm: largest norm of an optimizer's gradients, or None; or one for each by name.
        ranks: the processes that gradients are averaged over.
    """

    def __init__(
        self,
        optimizers: dict[str, Optimizer],
        hardware: Hardware,
        rate: Callable[[int], float],
        total: int,
        accumulate: int = 1,
        clip_norm: float | Mapping[str, float | None] | None = None,
        ranks: Ranks = SINGLE,
    ) -> None:
        self.optimizers, self.hardware, self.rate = optimizers, hardware, rate
        self.ranks = ranks
        self.total, self.accumulate = total, accumulate
        if not isinstance(clip_norm, Mapping):
            clip_norm = dict.fromkeys(optimizers, clip_norm)
        self.clip_norms = clip_norm
        self.scaler = hardware.scaler()
        self.step = 0
        self._last_batch = True
        self._stepped: set[str] = set()
        self._base_rates = {name: _rates(optimizer) for name, optimizer in optimizers.items()}
        self._parameters: dict[str, list[nn.Parameter]] = {
            name: [p for group in optimizer.param_groups for p in group["params"]]
            for name, optimizer in optimizers.items()
        }

    @property
    def progress(self) -> float:
        """Fraction of the run that is done, in [0, 1)."""
        return self.step / self.total

    @property
    def learning_rate(self) -> float:
        """Of the first optimizer's first group, now."""
        return float(next(iter(self.optimizers.values())).param_groups[0]["lr"])

    def begin(self, step: int, last_batch: bool = True) -> None:
        """Before a batch of optimizer step `step`; only its last batch moves the weights."""
        self.step, self._last_batch = step, last_batch
        factor = self.rate(step)
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self._base_rates[name], strict=True):
                group["lr"] = base * factor

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        """Backward into optimizer `name`'s parameters alone, and its step.

        `inputs=` keeps a generator's loss out of the discriminators' gradients without switching
        `requires_grad` back and forth, and saves computing them.
        """
        if name not in self.optimizers:
            raise UserError(
                f"update.minimize: no optimizer {name!r}; the method's parameter_groups() has "
                f"{', '.join(self.optimizers)}"
            )
        with torch.autocast(self.hardware.device.type, enabled=False):
            part = loss if self.accumulate == 1 else loss / self.accumulate
            torch.autograd.backward(self.scaler.scale(part), inputs=self._parameters[name])
        if self._last_batch:
            self.ranks.average_gradients(self._parameters[name])
            self._take_step(name)

    @property
    def has_stepped(self) -> bool:
        """Whether an optimizer has moved weights in this optimizer step."""
        return bool(self._stepped)

    def finish(self) -> None:
        """After an optimizer step: the loss scale is adapted."""
        if self._stepped:
            self.scaler.update()
        self._stepped.clear()

    def _take_step(self, name: str) -> None:
        optimizer = self.optimizers[name]
        clip_norm = self.clip_norms[name]
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self._parameters[name], clip_norm)
        self.scaler.step(optimizer)
        self._stepped.add(name)
        optimizer.zero_grad(set_to_none=True)
        # Autocast keeps the cast weights until its block ends; a further forward pass in this same
        # step must not see those of before the step.
        torch.clear_autocast_cache()

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint needs; learning rates are functions of the step."""
        return {
            "optimizers": {name: o.state_dict() for name, o in self.optimizers.items()},
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Restores `state_dict()`, also of a run at another precision."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])  # type: ignore[arg-type]
        if state["scaler"]:  # empty without loss scaling, which an enabled scaler would refuse
            self.scaler.load_state_dict(state["scaler"])


def _rates(optimizer: Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]
