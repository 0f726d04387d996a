"""What a trial leaves out: work for a final report, longer than a short training."""

from collections.abc import Sequence

from dlrun.config.check import to_plain_types
from dlrun.config.schema import TrainConfig
from dlrun.registry import lookup
from dlrun.text import flatten

_LEFT_OUT = {
    "quality.features": "none",  # the judge of made images
    "method.likelihood_draws": 0,  # of the test alone
    "method.baseline": False,  # a second run beside each trial
    "method.controls": False,  # several of them
}
_MAKING = ("sample", "decode", "translate")
"""What a method has whose images are judged. Asked of the class: a trial has no instance here."""


def spared(config: TrainConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides that turn off what no study reads, of a trial that would do it.

    Args:
        config: of the trial.
        overrides: from which it was composed; what is given there wins.
    """
    values = flatten(to_plain_types(config))
    method = lookup("method", config.method.name)
    if not any(hasattr(method, name) for name in _MAKING):
        del values["quality.features"]
    return [
        f"{key}={str(off).lower()}"
        for key, off in _LEFT_OUT.items()
        if values.get(key, off) != off and not _given(key, overrides)
    ]


def _given(key: str, overrides: Sequence[str]) -> bool:
    """By itself, or with its section: quality={features:auto}."""
    section = key.partition(".")[0]
    return any(text.lstrip("+").startswith((f"{key}=", f"{section}={{")) for text in overrides)
