"""Finding, or training, the networks that judge what a run has made.

At the end of the run and not before it: nothing is delayed, a run that is cut off has not paid for
it, and a run that is resumed comes to the same place. Only a file that the user has is read before.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from dlrun.config.schema import TrainConfig
from dlrun.errors import Interrupted
from dlrun.evaluation.extractor import (
    Extractor,
    inception_extractor,
    random_extractor,
    trained_extractor,
)
from dlrun.evaluation.quality import FEWEST, Quality, can_be_judged
from dlrun.methods.capabilities import Translates
from dlrun.runs.folder import RunFolder
from dlrun.runs.signals import StopRequest
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment
from dlrun.training.companions import Train, domain_config, feature_config, feature_run, wait

_NO_FILE = ("auto", "random", "none")


def given_extractor(experiment: Experiment) -> Extractor | None:
    """The network in the file that the user gave, if there is one and the method makes images.

    Raises:
        UserError: it is not there, is damaged, carries code, or is another network.
    """
    given = experiment.config.quality.features
    if given in _NO_FILE or not can_be_judged(experiment.method):
        return None
    path, key = Path(given).expanduser(), f"quality.features={given}"
    state = checkpoint.load_state_dict(path)
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return inception_extractor(state, digest, key, experiment.hardware.device)


def quality_of(
    experiment: Experiment,
    given: Extractor | None,
    train: Train,
    say: Callable[[str], None],
    stop: StopRequest,
) -> Quality | None:
    """Who judges the images that the run's method makes; None where it makes none.

    Args:
        experiment: that was trained.
        given: the user's own network, in the place of one that is trained.
        train: trains another run, a network that judges.
        say: for people.
        stop: asked while another process trains that network.

    Raises:
        Interrupted: stopped on request; the run is resumed where this was left.
    """
    config, data = experiment.config, experiment.data
    if config.quality.features == "none" or not can_be_judged(experiment.method):
        return None
    if min(len(data.train), len(data.test)) < FEWEST:
        say(f"quality: not judged, that needs {FEWEST} train and test images")
        return None

    def judge(needed: TrainConfig, classes: str = "") -> Extractor:
        folder = _trained(needed, experiment, train, say, stop)
        trained = experiment.trained(str(folder))
        return trained_extractor(trained, data, experiment.hardware.device, classes)

    extractor = given or _extractor(experiment, judge, say)
    domains = _domains(experiment, judge, say)
    return Quality(extractor, data, config.quality.samples, config.seed, domains)


def _extractor(
    experiment: Experiment, judge: Callable[[TrainConfig], Extractor], say: Callable[[str], None]
) -> Extractor:
    config, data, device = experiment.config, experiment.data, experiment.hardware.device
    needed = feature_config(config, len(data.train))
    told = data.train.labels is not None and data.num_classes > 1
    if told and config.quality.features != "random":
        return judge(needed)
    why = "as asked" if told else "these images have no classes"
    say(f"quality: random features, a weaker judge than learnt ones ({why})")
    return random_extractor(needed.model, data, device)


def _domains(
    experiment: Experiment,
    judge: Callable[[TrainConfig, str], Extractor],
    say: Callable[[str], None],
) -> Extractor | None:
    """Who tells a translation's two domains apart; nobody where nothing is to be trained."""
    config, data = experiment.config, experiment.data
    if not isinstance(experiment.method, Translates) or config.quality.features == "random":
        return None
    if config.bias.active and data.num_classes > 2:
        say("quality: nobody tells the domains apart, since a bias is tied to all of the classes")
        return None
    return judge(domain_config(config, data), "domains-")


def _trained(
    needed: TrainConfig,
    experiment: Experiment,
    train: Train,
    say: Callable[[str], None],
    stop: StopRequest,
) -> RunFolder:
    """The folder of a network that judges."""

    def pause() -> None:
        if stop.signal is not None:
            raise Interrupted(stop.signal, "")
        wait()

    try:
        return feature_run(needed, experiment.config.hardware, train, say, pause)
    except Interrupted as stopped:
        raise Interrupted(
            stopped.exit_code - 128,
            "stopped before the test, at the network that judges its images; saved",
        ) from None
