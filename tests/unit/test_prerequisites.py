"""What a run needs first or is compared with: which runs, in which folder, trained how often."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.config.signature import signature
from dlrun.config.typed import to_plain_types
from dlrun.console import Console
from dlrun.errors import RunFailed, UserError
from dlrun.files import write_json
from dlrun.options import Choice
from dlrun.runs.folder import RunFolder
from dlrun.training import prerequisites as module
from dlrun.training.prerequisites import filled, prerequisites, ready, train_first
from dlrun.views.summary import compared_table


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Outputs are relative to where one is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    return tmp_path


@pytest.fixture(autouse=True)
def _patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is asked to train is the latest `Trainer`."""
    monkeypatch.setattr(module, "train", lambda config, folder, _: Trainer.latest(config, folder))


def needed(config: TrainConfig) -> dict[str, TrainConfig]:
    """The configs of what a run needs, by role."""
    return {one.role: one.config for one in prerequisites(config)}


def baseline_config(config: TrainConfig) -> TrainConfig:
    return needed(replace_options(config, baseline=True))["baseline"]


def teacher_config(config: TrainConfig) -> TrainConfig:
    return needed(config)["teacher"]


def replace_options(config: TrainConfig, **changed: object) -> TrainConfig:
    options = replace(config.method.options, **changed)
    return replace(config, method=Choice(config.method.name, options))


def config(*overrides: str) -> TrainConfig:
    return check(compose_plain(["method=distill", "dataset.val_fraction=0.1", *overrides], None))


def finish(folder: RunFolder, accuracy: float = 0.75, state: str = "completed") -> None:
    """Leaves behind what a run leaves."""
    write_json(folder.summary, {"test": {"best": {"accuracy": accuracy}}})
    status = {
        "state": state, "step": 1, "total": 1, "started": 0.0, "heartbeat": 0.0, "pid": 1,
        "host": "elsewhere",
    }  # fmt: skip
    write_json(folder.status, status)


class Lines(Console):
    """Keeps what it is told."""

    def __init__(self, said: list[str], heard: Callable[[str], None]) -> None:
        super().__init__(quiet=True)
        self.said, self.heard = said, heard

    def say(self, *lines: str, wrap: bool = True) -> None:
        self.said += lines
        self.heard(lines[0])


class Trainer:
    """Trains nothing, and remembers what it was asked for."""

    latest: ClassVar[Callable[[TrainConfig, RunFolder], None]]

    def __init__(
        self,
        first: Callable[[RunFolder], None] = lambda folder: None,
        heard: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.asked: list[tuple[TrainConfig, RunFolder]] = []
        self.said: list[str] = []
        self.first, self.heard = first, heard
        Trainer.latest = self.train

    def train(self, config: TrainConfig, folder: RunFolder) -> None:
        self.asked.append((config, folder))
        if len(self.asked) == 1:
            self.first(folder)
        folder.prepare({"method": {"name": "supervised"}})
        finish(folder)

    def prepare(self, config: TrainConfig) -> TrainConfig:
        Trainer.latest = self.train
        return filled(config, train_first(config, Lines(self.said, self.heard)))


# --- which runs ----------------------------------------------------------------------------------


def test_the_student_alone_differs_in_method_and_loss_and_nothing_else() -> None:
    student = config(
        "seed=5", "epochs=7", "steps=40", "batch_size=32", "optimizer.lr=0.3", "augment=none",
        "model=resnet8", "method.dropout=0.2", "loss=dkd", "accumulate=2", "patience=3",
        "name=mine", "schedule=constant", "hardware=cpu",
    )  # fmt: skip
    alone = baseline_config(student)
    assert replace(alone, method=student.method, loss=student.loss, name="mine") == student
    assert (alone.method.name, alone.loss.name, alone.name) == ("supervised", "cross_entropy", None)
    assert alone.loss.options.label_smoothing == 0
    options = alone.method.options
    assert (options.dropout, options.l1, options.l2) == (0.2, 0, 0)


def test_it_is_what_the_command_line_would_train() -> None:
    """Else `dlrun train method=supervised` were another experiment than the baseline."""
    student = config("model=resnet8", "seed=3")
    plain = compose_plain(
        ["method=supervised", "model=resnet8", "seed=3", "dataset.val_fraction=0.1"], None
    )
    assert baseline_config(student) == check(plain)


def test_the_teacher_is_another_network_on_the_same_images() -> None:
    student = config(
        "seed=5", "model=resnet8", "model@method.teacher_model=resnet20", "method.dropout=0.2"
    )
    teacher = teacher_config(student)
    assert teacher.model.options.depth == 20
    assert (teacher.seed, teacher.epochs) == (0, student.epochs)
    same = ("dataset", "augment", "optimizer", "schedule", "batch_size", "hardware", "steps")
    assert all(getattr(teacher, name) == getattr(student, name) for name in same)
    assert (teacher.method.name, teacher.method.options.dropout) == ("supervised", 0)


@pytest.mark.parametrize(
    ("override", "seed", "epochs"),
    [
        ("method.teacher_seed=null", 5, 4),
        ("method.teacher_seed=2", 2, 4),
        ("method.teacher_epochs=9", 0, 9),
        ("method.baseline=true", 0, 4),
    ],
)
def test_the_teachers_seed_and_epochs(override: str, seed: int, epochs: int) -> None:
    teacher = teacher_config(config("seed=5", "epochs=4", override))
    assert (teacher.seed, teacher.epochs) == (seed, epochs)


def test_the_teachers_epochs_are_not_cut_by_the_students_steps() -> None:
    assert teacher_config(config("steps=10", "method.teacher_epochs=9")).steps is None
    assert teacher_config(config("steps=10")).steps == 10


@pytest.mark.parametrize(
    "override",
    [
        "method.student_tap=stage9", "method.teacher_tap=layer4", "model=mlp",
        "patience=2 dataset.val_fraction=0", "hardware.sync_batchnorm=true",
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_a_teacher_is_trained(override: str) -> None:
    trainer = Trainer()
    console = Lines(trainer.said, trainer.heard)
    with pytest.raises(UserError, match=r"_tap: got|compares maps|patience: there is|batchnorm"):
        ready(config("loss=attention", "method.baseline=true", *override.split()), console)
    assert trainer.asked == []


def test_weights_to_begin_with_are_not_looked_for_twice(tmp_path: Path) -> None:
    begun = tmp_path / "weights.pt"
    begun.touch()  # a file that nobody reads here
    trainer = Trainer()
    trainer.prepare(config(f"model.init_from={begun}"))
    assert len(trainer.asked) == 1


# --- how often -----------------------------------------------------------------------------------


def test_the_teacher_is_trained_once_for_all_students() -> None:
    trainer = Trainer()
    students = [
        config("loss=kd"), config("loss=hint", "model=resnet8", "seed=4", "method.kd_warmup=0.5"),
        config("name=mine", "log_every=7"),
    ]  # fmt: skip
    settled_to = {trainer.prepare(student).method.options.teacher for student in students}
    assert len(trainer.asked) == 1
    ((asked, folder),) = trainer.asked
    assert asked == teacher_config(students[0])
    assert settled_to == {str(folder)}
    assert str(folder).startswith("outputs/fashion_mini/supervised/teacher-")
    assert trainer.said == [
        "teacher: not trained yet, training it first (resnet)",
        *[f"teacher: {folder}, trained; test accuracy 0.7500 (best)"] * 3,
    ]


def test_a_teacher_that_was_interrupted_is_resumed() -> None:
    trainer = Trainer()
    student = config()
    folder = RunFolder(Path(trainer.prepare(student).method.options.teacher))
    finish(folder, state="interrupted")
    trainer.said.clear()
    trainer.prepare(student)
    assert trainer.said[0] == (f"teacher: {folder} is interrupted at step 1, resuming it first")
    assert [where.path.name for _, where in trainer.asked] == [folder.path.name] * 2


@pytest.mark.parametrize("summary", [{"test": 5}, {"test": {"best": []}}, {}])
def test_a_damaged_summary_of_a_teacher_tells_no_accuracy(summary: dict[str, Any]) -> None:
    trainer, student = Trainer(), config()
    folder = RunFolder(Path(trainer.prepare(student).method.options.teacher))
    write_json(folder.summary, summary)
    trainer.prepare(student)
    assert trainer.said[-1] == f"teacher: {folder}, trained"


@pytest.mark.parametrize(
    "change",
    ["epochs=9", "augment=none", "model@method.teacher_model=resnet8", "method.teacher_seed=1",
     "dataset.val_fraction=0.2", "optimizer.lr=0.01"],
)  # fmt: skip
def test_another_experiment_has_another_teacher(change: str) -> None:
    trainer = Trainer()
    one, two = (trainer.prepare(each) for each in (config(), config(change)))
    assert len(trainer.asked) == 2
    assert one.method.options.teacher != two.method.options.teacher


def test_each_seed_has_its_own_teacher_where_that_is_asked_for() -> None:
    trainer = Trainer()
    for seed in (0, 1, 1):
        trainer.prepare(config(f"seed={seed}", "method.teacher_seed=null"))
    assert [asked.seed for asked, _ in trainer.asked] == [0, 1]


def test_a_baseline_is_trained_for_each_seed_and_found_again() -> None:
    trainer = Trainer()
    student = config("method.baseline=true", "seed=3")
    trainer.prepare(student)
    assert [folder.name.split("-")[0] for _, folder in trainer.asked] == ["baseline", "teacher"]
    assert trainer.asked[0][0] == baseline_config(student)
    trainer.prepare(config("method.baseline=true", "seed=3", "loss=kd_cosine"))
    assert len(trainer.asked) == 2
    trainer.prepare(config("method.baseline=true", "seed=4"))
    assert len(trainer.asked) == 3


def test_what_needs_nothing_stays_as_it_is() -> None:
    other, trainer = check(compose_plain(["method=byol"])), Trainer()
    assert prerequisites(other) == []
    assert trainer.prepare(other) == other
    assert not trainer.asked


def test_a_teacher_that_is_named_is_not_trained(here: Path) -> None:
    folder = RunFolder(here / "outputs" / "x" / "supervised" / "mine")
    folder.prepare({"method": {"name": "supervised"}})
    finish(folder)
    trainer = Trainer()
    student = trainer.prepare(config("method.teacher=outputs/x/supervised/mine"))
    assert student.method.options.teacher == "outputs/x/supervised/mine"
    assert not trainer.asked


# --- in which folder, while others are at it -----------------------------------------------------


def test_another_process_that_trains_it_is_waited_for() -> None:
    first = Trainer()
    folder = RunFolder(Path(first.prepare(config()).method.options.teacher).absolute())
    finish(folder, state="running")
    other = RunFolder(folder.path)  # a lock is of an open file, as another process has it
    other.lock()

    def end() -> None:
        finish(folder, 0.5)
        other.unlock()

    def heard(text: str) -> None:
        if "waiting" in text:
            threading.Timer(0.3, end).start()

    trainer = Trainer(heard=heard)
    student = trainer.prepare(config())
    relative = folder.path.relative_to(Path.cwd())
    assert trainer.said == [
        f"teacher: another process is training it, waiting: {relative}",
        f"teacher: {relative}, trained; test accuracy 0.5000 (best)",
    ]
    assert not trainer.asked
    assert student.method.options.teacher == str(relative)


def test_where_another_process_was_first_by_a_moment_it_is_waited_for() -> None:
    """Between looking and locking; then the other one dies, and it is trained after all."""
    held: list[RunFolder] = []

    def beaten(folder: RunFolder) -> None:
        held.append(RunFolder(folder.path))
        held[0].lock()
        threading.Timer(0.3, held[0].unlock).start()
        raise UserError("another process is training this run right now")

    trainer = Trainer(beaten)
    trainer.prepare(config())
    assert len(trainer.asked) == 2
    assert "waiting" in trainer.said[1]


@pytest.mark.parametrize("error", [UserError("no such device"), RunFailed("loss is nan")])
def test_a_teacher_that_fails_ends_it(error: UserError) -> None:
    def fail(folder: RunFolder) -> None:
        finish(folder, state="failed")
        raise error

    trainer = Trainer(fail)
    with pytest.raises(type(error), match=str(error)):
        trainer.prepare(config())
    assert len(trainer.asked) == 1


# --- a DB-VAE's controls --------------------------------------------------------------------------


def dbvae(*overrides: str) -> TrainConfig:
    given = ["method=dbvae", "bias=flip", "groups=[flip]", "method.controls=true", *overrides]
    return check(compose_plain(given))


def test_controls_differ_in_how_images_are_drawn_and_in_nothing_else() -> None:
    run = dbvae("seed=4", "method.alpha=0.1", "method.latent=7", "name=mine")
    found = needed(run)
    assert list(found) == ["control-none", "control-attribute", "control-shuffled"]
    assert run.method.options.balance == ("flip",)  # the groups that are reported
    for role, control in found.items():
        options = control.method.options
        assert f"control-{options.resampling}" == role and not options.controls
        assert options.latent == 7
        assert replace(control, method=run.method, name="mine") == run
    assert found["control-shuffled"].method.options.alpha == 0.1
    assert found["control-attribute"].method.options.balance == ("flip",)


def test_a_sweep_shares_what_does_not_depend_on_its_alpha() -> None:
    first, second = (needed(dbvae(f"method.alpha={a}")) for a in (0.1, 0.001))
    same = {
        role: signature(to_plain_types(first[role])) == signature(to_plain_types(second[role]))
        for role in first
    }
    assert same == {"control-none": True, "control-attribute": True, "control-shuffled": False}


def test_what_is_no_control_of_it() -> None:
    assert list(needed(dbvae("groups=null"))) == ["control-none", "control-shuffled"]
    assert "control-none" not in needed(dbvae("method.resampling=none"))
    assert needed(dbvae("method.controls=false")) == {}


def test_they_are_trained_first_and_once() -> None:
    trainer, run = Trainer(), dbvae()
    assert trainer.prepare(run) == run == trainer.prepare(run)
    assert [asked.method.options.resampling for asked, _ in trainer.asked] == [
        "none", "attribute", "shuffled",
    ]  # fmt: skip


def test_they_are_shown_beside_the_run() -> None:
    own = {"accuracy": 0.8, "worst_group_recall": 0.5, "group/a/recall": 1.0}
    others = {
        f"control-{n}": {"accuracy": 0.9, "worst_group_recall": 0.1 * n, "group/a/recall": 1.0}
        for n in (1, 2, 3)
    }
    console = Console(width=120)
    with console.capture() as captured:
        console.print(compared_table({"test": {"last": own}, "compared": others}))
    shown = captured.get()
    assert "this run" in shown and "control-3" in shown
    (line,) = [line for line in shown.splitlines() if "worst group" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == ["0.500", "0.100", "0.200", "0.300"]
    assert "group/a" not in shown
