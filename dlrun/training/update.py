"""The one way to train: backward, scaling, accumulation, clipping, step."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dlrun.errors import CodeError
from dlrun.text import given
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
        self._minimized: set[str] = set()  # with this batch
        self._stepped: set[str] = set()
        self.reached: set[int] = set()
        """The ids of the parameters that had a gradient in the run's first step."""
        self._base_rates = {name: _rates(optimizer) for name, optimizer in optimizers.items()}
        self.parameters: dict[str, list[nn.Parameter]] = {
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
        self._minimized.clear()
        factor = self.rate(step)
        for name, optimizer in self.optimizers.items():
            for group, base in zip(optimizer.param_groups, self._base_rates[name], strict=True):
                group["lr"] = base * factor

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        """Backward into optimizer `name`'s parameters alone, and its step.

        `inputs=` keeps a generator's loss out of the discriminators' gradients without switching
        `requires_grad` back and forth, and saves computing them. An optimizer may take several
        steps with one batch, as a critic's does, unless gradients are accumulated.

        Raises:
            CodeError: the loss is no number that depends on these parameters, or the gradients
                would not be this loss's alone.
        """
        self._check(loss, name)
        with torch.autocast(self.hardware.device.type, enabled=False):
            part = loss if self.accumulate == 1 else loss / self.accumulate
            torch.autograd.backward(self.scaler.scale(part), inputs=self.parameters[name])
        self._minimized.add(name)
        if not self.step:
            reached = {id(p) for p in self.parameters[name] if p.grad is not None}
            if not reached:
                raise CodeError(
                    f"update.minimize: the loss depends on no parameter of {name!r}, so none of "
                    "them would change; was something detached, or is another optimizer meant?"
                )
            self.reached |= reached
        if self._last_batch:
            self.ranks.average_gradients(self.parameters[name])
            self._take_step(name)

    def _check(self, loss: object, name: str) -> None:
        if name not in self.optimizers:
            raise CodeError(
                f"update.minimize: no optimizer {name!r}; the method's parameter_groups() has "
                f"{', '.join(self.optimizers)}"
            )
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise CodeError(
                f"update.minimize: got {given(loss)}, expected a tensor with one number; give the "
                "mean() of the images' losses, without item() or float()"
            )
        if not loss.requires_grad:
            raise CodeError(
                "update.minimize: the loss has no gradient; it was detached, computed without "
                "gradients, or does not depend on any parameter"
            )
        if self.accumulate > 1 and name in self._minimized:
            raise CodeError(
                f"update.minimize: called twice for {name!r} with one batch, whose gradients are "
                f"added to those of others; expected accumulate=1, got {self.accumulate}"
            )
        fresh = not self.step and not self.reached.intersection(map(id, self.parameters[name]))
        if fresh and any(p.grad is not None for p in self.parameters[name]):
            raise CodeError(
                f"update.minimize: parameters of {name!r} have gradients already, which would be "
                "added; leave out loss.backward()"
            )

    def finish(self, code: Any = None) -> None:
        """After an optimizer step: the loss scale is adapted.

        Args:
            code: the method's `step`, for the message.

        Raises:
            CodeError: nothing has been minimized in the run's first step.
        """
        if self._stepped:
            self.scaler.update()
        elif not self.step:
            raise CodeError(
                "step() did not call update.minimize(loss), so no weight has changed; expected in "
                "the first step, too (loss.backward() alone trains nothing)",
                code,
            )
        self._stepped.clear()

    def _take_step(self, name: str) -> None:
        optimizer = self.optimizers[name]
        clip_norm = self.clip_norms[name]
        if name in self._stepped:  # before its next step the scaler has to forget its last one
            self.scaler.update()
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.parameters[name], clip_norm)
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
