"""The runs that a run stands on or is held against: teacher, student alone, judge, controls.

Each is a run of its own in a folder named by its config's signature, so that the next run that
needs the same one, in this sweep or next week, takes it as it is, or goes on with it.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlrun.config.check import check, to_plain_types
from dlrun.config.compose import compose_plain
from dlrun.config.schema import HardwareConfig, TrainConfig
from dlrun.config.signature import signature
from dlrun.data.rows import domain_rows
from dlrun.data.sources.two_domains import TwoDomains
from dlrun.data.table import DataSet
from dlrun.errors import UserError
from dlrun.files import read_json
from dlrun.losses.classification import CrossEntropy
from dlrun.losses.regression import SquaredError
from dlrun.methods.supervised import LABEL, Supervised
from dlrun.options import Choice
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import read_status
from dlrun.training.rehearsal import rehearse

FEATURES = "features"
"""The recipe of the network that judges, and what its folder's name begins with."""
_POLL_SECONDS = 1.0

Train = Callable[[TrainConfig, RunFolder], object]
"""Trains a config in a folder, from where it stands."""


def prepared(config: TrainConfig, train: Train, say: Callable[[str], None]) -> TrainConfig:
    """`config` with every run that it names settled, those that it needs trained first.

    Raises:
        UserError: a run that it names is not there, or what is to be trained does not fit.
    """
    options = config.method.options
    for role, control in control_configs(config).items():
        _trained(control, f"control-{role}", train, say)
    if config.method.name != "distill":
        return config
    if options.teacher is None:
        rehearse(config, teacher_config(config))
    if options.baseline:
        _trained(baseline_config(config), "baseline", train, say)
    if options.teacher is None:
        folder = _trained(teacher_config(config), "teacher", train, say)
        options = replace(options, teacher=str(folder))
        config = replace(config, method=Choice("distill", options))
    return config


def feature_config(config: TrainConfig, rows: int) -> TrainConfig:
    """Of the network that judges what `config` makes: a function of its images alone.

    `rows`: images of the train split, where there are fewer than a batch.
    """
    recipe = check(compose_plain([f"recipe={FEATURES}"]))
    return replace(
        recipe,
        dataset=config.dataset,
        bias=config.bias,
        outputs=config.outputs,
        data_dir=config.data_dir,
        batch_size=min(recipe.batch_size, rows),
    )


def domain_config(config: TrainConfig, data: DataSet) -> TrainConfig:
    """Of the network that tells the two domains of `data` apart: class 0 is A.

    It has seen no other class. Where there is none, it is the network that judges anyway.
    """
    assert data.domains is not None
    rows = sum(map(len, domain_rows(data)))
    if data.domains == (0, 1) and data.num_classes == 2:
        return feature_config(config, rows)
    a, b = (data.class_names[domain] for domain in data.domains)
    options = replace(config.dataset.options, domains=None, positive=None)
    whole = Choice(config.dataset.name, options)
    two = TwoDomains.Config(
        val_fraction=options.val_fraction, domains=None, positive=None, a=whole, b=whole,
        a_class=a, b_class=b, size=None, channels="auto",
    )  # fmt: skip
    return feature_config(replace(config, dataset=Choice("two_domains", two)), rows)


def feature_run(
    needed: TrainConfig,
    hardware: HardwareConfig,
    train: Train,
    say: Callable[[str], None],
    pause: Callable[[], None] | None = None,
) -> RunFolder:
    """The folder of a network that judges, trained now where none of its kind is there.

    It is trained on `hardware`, which is no part of its signature: whoever needs the same judge
    takes this one. `pause` is called while another process trains it.
    """
    hardware = _one_process(replace(hardware, precision=needed.hardware.precision))

    def train_here(needed: TrainConfig, folder: RunFolder) -> object:
        return train(replace(needed, hardware=hardware), folder)

    return _trained(needed, FEATURES, train_here, say, pause or wait)


def teacher_config(config: TrainConfig) -> TrainConfig:
    """Of the teacher that `config` needs: supervised, on the same images."""
    options = config.method.options
    seed = config.seed if options.teacher_seed is None else options.teacher_seed
    return replace(
        _alone(config, dropout=0.0),
        model=options.teacher_model,
        epochs=options.teacher_epochs or config.epochs,
        steps=None if options.teacher_epochs else config.steps,
        seed=seed,
    )


def baseline_config(config: TrainConfig) -> TrainConfig:
    """Of the student alone: same weights to begin with, same images in the same order."""
    return _alone(config, dropout=config.method.options.dropout)


def baseline_summary(config: TrainConfig) -> dict[str, Any] | None:
    """What the student alone has reached; None where that was not asked for."""
    if config.method.name != "distill" or not config.method.options.baseline:
        return None
    return read_json(_folder(baseline_config(config), "baseline").summary) or None


def control_configs(config: TrainConfig) -> dict[str, TrainConfig]:
    """Of a DB-VAE that is to be held against itself: the same but for how its images are drawn.

    By name: drawn evenly, drawn as unevenly but blindly, and, where columns are given, each of
    their combinations equally often. None of what the first and the last do not use is part of
    their configs, so that all runs of a sweep share them.
    """
    options = config.method.options
    if config.method.name != "dbvae" or not options.controls:
        return {}
    unused = replace(
        options, controls=False, alpha=1.0, bins=1, clip=0.0, combine="max", top=1, balance=None
    )
    drawn = {
        "none": replace(unused, resampling="none"),
        "attribute": replace(unused, resampling="attribute", balance=options.balance),
        "shuffled": replace(options, controls=False, resampling="shuffled", balance=None),
    }
    if not options.balance:
        del drawn["attribute"]
    return {
        role: replace(
            config,
            method=Choice("dbvae", changed),
            hardware=_one_process(config.hardware),
            name=None,
        )
        for role, changed in drawn.items()
        if role != options.resampling
    }


def control_summaries(config: TrainConfig) -> dict[str, dict[str, Any]]:
    """What the controls have reached, by name; without those that are not there any more."""
    found = {
        role: read_json(_folder(control, f"control-{role}").summary)
        for role, control in control_configs(config).items()
    }
    return {role: summary for role, summary in found.items() if summary}


def _alone(config: TrainConfig, dropout: float) -> TrainConfig:
    method = Supervised.Config(
        dropout=dropout,
        l1=0.0,
        l2=0.0,
        tasks=(LABEL,),
        task_weights=None,
        numbers=(),
        value_loss=Choice("squared_error", SquaredError.Config()),
    )
    loss = Choice("cross_entropy", CrossEntropy.Config(label_smoothing=0.0))
    hardware = _one_process(config.hardware)
    return replace(
        config, method=Choice("supervised", method), loss=loss, hardware=hardware, name=None
    )


def _one_process(hardware: HardwareConfig) -> HardwareConfig:
    """What a run stands on is trained by one, though several train the run itself.

    So they all find the same one, and the other processes are free to wait.
    """
    return replace(hardware, devices=1, sync_batchnorm=False)


def _folder(config: TrainConfig, role: str) -> RunFolder:
    parent = Path(config.outputs) / config.dataset.name.replace(":", ".") / config.method.name
    return RunFolder((parent / f"{role}-{signature(to_plain_types(config))}").absolute())


def wait() -> None:
    """Until another process is looked at again."""
    time.sleep(_POLL_SECONDS)


def _trained(
    config: TrainConfig,
    role: str,
    train: Train,
    say: Callable[[str], None],
    pause: Callable[[], None] = wait,
) -> RunFolder:
    """The folder of the run once it is complete, whoever trains it."""
    folder = _folder(config, role)
    folder.path.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        in_use = folder.in_use()  # looked at first: a run that ends now has then said how
        status = read_status(folder)
        if status is not None and status.state == "completed":
            accuracy = read_json(folder.summary)["test"]["best"]["accuracy"]
            say(f"{role}: {folder}, trained; test accuracy {accuracy:.4f} (best)")
            return folder
        if not in_use:
            begun = (
                "none of this kind yet, trained first"
                if status is None
                else (f"{folder} is {status.state} at step {status.step}, trained to its end first")
            )
            say(f"{role}: {begun} ({config.model.name})")
            try:
                train(config, folder)
            except UserError:
                if not folder.in_use():  # else another process began at the same moment
                    raise
            continue
        if not waiting:
            say(f"{role}: another process is training it, waiting: {folder}")
            waiting = True
        pause()
