"""A distillation built once before its teacher is trained, which may take hours."""

from dataclasses import replace

from dlrun.config.schema import TrainConfig
from dlrun.data.info import info_of
from dlrun.data.open import open_dataset
from dlrun.methods.trained import Trained
from dlrun.options import Choice
from dlrun.training.assemble import build_method


def rehearse(config: TrainConfig, teacher: TrainConfig) -> None:
    """Builds the student beside a teacher that has learnt nothing yet, and drops both.

    Args:
        config: of a distillation whose teacher is still to be trained.
        teacher: of that teacher.

    Raises:
        UserError: a path or a loss that does not fit these networks.
    """
    data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)
    config, teacher = _from_scratch(config), _from_scratch(teacher)
    network = build_method(teacher, data, _nothing, 1.0)[0]

    def untrained(reference: str) -> Trained:
        return Trained(
            source=reference,
            state=network.state_dict(),
            parts=network.parts,
            method=teacher.method.name,
            model=teacher.model,
            info=info_of(data),
            pixels=network.pixels,
        )

    options = replace(config.method.options, teacher=teacher.model.name)
    student = replace(config, method=Choice(config.method.name, options))
    build_method(student, data, untrained, 1.0)


def _from_scratch(config: TrainConfig) -> TrainConfig:
    """Weights to begin with change nothing of what fits."""
    options = config.model.options
    if getattr(options, "init_from", None) is None:
        return config
    return replace(config, model=Choice(config.model.name, replace(options, init_from=None)))


def _nothing(reference: str) -> Trained:
    raise AssertionError(f"{reference}: nothing is loaded in a rehearsal")
