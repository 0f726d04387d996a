"""What a trial skips, and that what the user gave stays."""

import pytest

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.config.typed import to_plain_types
from dlrun.sweeps.tune import skip_reporting


def composed(*overrides: str) -> TrainConfig:
    return check(compose_plain(list(overrides), None))


@pytest.mark.parametrize(
    ("overrides", "skipped"),
    [
        (["method=vae"], ["method.likelihood_draws=0"]),
        (["method=autoencoder"], []),
        (["method=supervised"], []),
        (["method=distill"], []),
        (["method=distill", "recipe=cifar10_resnet56_kd"], ["method.baseline=false"]),
        (["method=distill", "method.baseline=true"], []),
        (["method=vae", "++method.likelihood_draws=100"], []),
        (["method=vae", "method.likelihood_draws=0"], []),
        (["method=dbvae", "method.controls=true"], []),
        (["method=dbvae", "method={controls:true}"], []),
    ],
)
def test_only_what_a_report_needs_and_nobody_gave(overrides: list[str], skipped: list[str]) -> None:
    config = composed(*overrides)
    changed, texts = skip_reporting(config, overrides)
    assert texts == skipped
    assert to_plain_types(changed) == to_plain_types(composed(*overrides, *skipped))
    assert skip_reporting(changed, overrides) == (changed, [])
