"""What a trial leaves out: work for a final report, longer than a short training."""

from collections.abc import Sequence

from dlrun.config.check import to_plain_types
from dlrun.config.schema import TrainConfig
from dlrun.text import flatten

_LEFT_OUT = {
    "method.likelihood_draws": 0,  # of the test alone
    "method.baseline": False,  # a second run beside each trial
    "method.controls": False,  # several of them
}


def spared(config: TrainConfig, overrides: Sequence[str]) -> list[str]:
    """The overrides that turn off what no study reads, of a trial that would do it.

    Args:
        config: of the trial.
        overrides: from which it was composed; what is given there wins.
    """
    values = flatten(to_plain_types(config))
    return [
        f"{key}={str(off).lower()}"
        for key, off in _LEFT_OUT.items()
        if values.get(key, off) != off and not _given(key, overrides)
    ]


def _given(key: str, overrides: Sequence[str]) -> bool:
    """By itself, or with its section: method={baseline:true}."""
    section = key.partition(".")[0]
    return any(text.lstrip("+").startswith((f"{key}=", f"{section}={{")) for text in overrides)
