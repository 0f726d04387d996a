"""What a trial leaves out, and that what the user gave wins."""

import pytest

from dlrun.config.check import check
from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig
from dlrun.tuning.spared import spared


def composed(*overrides: str) -> TrainConfig:
    return check(compose_plain(list(overrides), None))


@pytest.mark.parametrize(
    ("overrides", "left_out"),
    [
        (["method=vae"], ["method.likelihood_draws=0"]),
        (["method=autoencoder"], []),
        (["method=supervised"], []),
        (["method=distill"], []),
        (["method=distill", "recipe=cifar10_resnet56_kd"], ["method.baseline=false"]),
        (["method=distill", "method.baseline=true"], []),
        (["method=vae", "++method.likelihood_draws=100"], []),
        (["method=vae", "method={likelihood_draws:50}"], []),
        (["method=dbvae", "method.controls=true"], []),
    ],
)  # fmt: skip
def test_only_what_a_report_needs_and_nobody_gave(
    overrides: list[str], left_out: list[str]
) -> None:
    assert spared(composed(*overrides), overrides) == left_out
    again = composed(*overrides, *left_out)  # they are values that the config takes
    assert spared(again, overrides) == []
