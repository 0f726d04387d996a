"""Finding, or training, the network that judges what a run has made.

At the end of the run and not before it: nothing is delayed, a run that is cut off has not paid for
it, and a run that is resumed comes to the same place.
"""

from collections.abc import Callable

from dlrun.errors import Interrupted
from dlrun.evaluation.extractor import Extractor, random_extractor, trained_extractor
from dlrun.evaluation.quality import FEWEST, Quality, can_be_judged
from dlrun.runs.signals import StopRequest
from dlrun.training.assemble import Experiment
from dlrun.training.companions import Train, feature_config, feature_run, wait


def quality_of(
    experiment: Experiment, train: Train, say: Callable[[str], None], stop: StopRequest
) -> Quality | None:
    """Who judges the images that the run's method makes; None where it makes none.

    Args:
        experiment: that was trained.
        train: trains another run, the network that judges.
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
    extractor = _extractor(experiment, train, say, stop)
    return Quality(extractor, data, config.quality.samples, config.seed)


def _extractor(
    experiment: Experiment, train: Train, say: Callable[[str], None], stop: StopRequest
) -> Extractor:
    config, data, device = experiment.config, experiment.data, experiment.hardware.device
    rows = len(data.train)
    told = data.train.labels is not None and data.num_classes > 1
    if config.quality.features == "random" or not told:
        why = "as asked" if told else "these images have no classes"
        say(f"quality: random features, a weaker judge than learnt ones ({why})")
        return random_extractor(feature_config(config, rows).model, data, device)

    def pause() -> None:
        if stop.signal is not None:
            raise Interrupted(stop.signal, "")
        wait()

    try:
        folder = feature_run(config, rows, train, say, pause)
    except Interrupted as stopped:
        raise Interrupted(
            stopped.exit_code - 128,
            "stopped before the test, at the network that judges its images; saved",
        ) from None
    return trained_extractor(experiment.trained(str(folder)), data, device)
