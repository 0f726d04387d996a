"""Distillation: a small student learns from a trained teacher (Hinton et al. 2015, 1503.02531).

The loss group says what is compared: soft targets (`kd`, standardised in `kd_standardized`,
`kd_cross_entropy`, the lecture notes' form), decoupled (`dkd`), hidden representations
(`kd_cosine`; `hint`, FitNets, through a trainable regressor; `attention`). The teacher is frozen,
in eval mode, and sees the same view as the student. Otherwise than in the notes: their alpha and
beta are `loss.ce_weight` and `loss.kd_weight`, since other code means the reverse by alpha; soft
losses are multiplied by T^2, which they leave out. Hints are one stage, not two as in FitNets.

Expect: accuracy .761 ± .004 on CIFAR-10 as JPEG, the student alone .726 ± .001: dlrun train
recipe=cifar10_resnet56_kd, 33 minutes of one core for the teacher, 5 for the student
(docs/results.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from dlrun.data.batches import EvalBatch, Labelled
from dlrun.errors import UserError
from dlrun.losses.classification import cross_entropy
from dlrun.methods.base import Builder, Method, Section, Update
from dlrun.models.classifier import Classifier, Memory, Regressor, demand_path, last_map, tapped
from dlrun.models.pretrained import load_teacher
from dlrun.options import Choice, Count, FilePath, Fraction, Group, NonEmpty, Range, Whole

MEMORY_BYTES = 2 * 1024**3


class Distill(Method):
    """A student with a loss on labels and a loss on a frozen teacher's output."""

    @dataclass(frozen=True)
    class Config:
        teacher: FilePath | None
        teacher_model: Annotated[Choice, Group("model", "encoder")]
        teacher_epochs: Count | None
        teacher_seed: Whole | None
        baseline: bool
        dropout: Annotated[float, Range(0, 1, high_open=True)]
        student_tap: NonEmpty | None
        teacher_tap: NonEmpty | None
        kd_warmup: Fraction

    view = Labelled
    model_kind = "encoder"
    loss_kind = "distillation"
    key_metric = "accuracy"
    reporting_only = ("baseline",)
    parts: ClassVar[dict[str, str]] = {"backbone": "student.encoder.", "head": "student.head."}
    inference = ("student.",)

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        # First, so that it starts from the same weights as alone.
        self.student = Classifier(build.model(), config.dropout, build.num_classes)
        self.loss = build.loss()
        if config.teacher is None:
            raise UserError("method.teacher: missing; expected a run, or the start of its name")
        trained = build.pretrained(config.teacher)
        needs_head = self.loss.compares == "logits"
        self.teacher = load_teacher(trained, build.info, self.pixels, needs_head, "method.teacher")
        self.source = replace(trained, state={})  # the weights are in the network now
        build.report.append(f"teacher: {trained}, {len(self.teacher.state_dict())} tensors")
        self.student_tap = self._tap("student_tap", self.student, build)
        self.teacher_tap = self._tap("teacher_tap", self.teacher, build)
        image = torch.zeros(1, *build.image_shape)
        with torch.no_grad():
            given = tapped(self.student.eval(), self.student_tap, image)[1]
            output, wanted = tapped(self.teacher, self.teacher_tap, image)
        self.regressor = Regressor(given, wanted) if self.loss.regressor else nn.Identity()
        self.memory: Memory | None = None
        numbers = output.numel() + (0 if self.teacher_tap is None else wanted.numel())
        if not build.augmented and 4 * numbers * build.rows <= MEMORY_BYTES:
            self.memory = Memory(build.rows)

    @classmethod
    def prerequisites(cls, plain: dict[str, Any], section: Section) -> dict[str, dict[str, Any]]:
        """A teacher where none is named; the student alone, with the same weights at the start."""
        own, needed = plain["method"], {}
        loss = section("loss", "cross_entropy")
        if own["baseline"]:
            alone = section("method", "supervised", dropout=own["dropout"])
            needed["baseline"] = plain | {"method": alone, "loss": loss}
        if own["teacher"] is None:
            needed["teacher"] = plain | {
                "method": section("method", "supervised"),
                "loss": loss,
                "model": own["teacher_model"],
                "epochs": own["teacher_epochs"] or plain["epochs"],
                "steps": None if own["teacher_epochs"] else plain["steps"],
                "seed": plain["seed"] if own["teacher_seed"] is None else own["teacher_seed"],
            }
        return needed

    def _tap(self, key: str, network: Classifier, build: Builder) -> str | None:
        """The path of the module whose output is compared; None for the logits."""
        path: str | None = getattr(self.config, key)
        demand_path(network, path or "", f"method.{key}")
        if self.loss.compares == "logits":
            return None
        if path is None and self.loss.compares == "maps":
            path = last_map(network.eval(), torch.zeros(1, *build.image_shape))
            if path is None:
                raise UserError(f"loss: this one compares maps, the {key[:7]} model has none")
        return path or ""

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """The student and the regressor; the teacher is in no optimizer."""
        return {"main": [*self.student.parameters(), *self.regressor.parameters()]}

    def step(self, batch: Labelled, update: Update) -> dict[str, Tensor]:
        """The notes' teacher-student loop: hard labels and the teacher's output, one loss."""
        taught, wanted = self.ask_teacher(batch)
        logits, given = tapped(self.student, self.student_tap, batch.image)
        soft = self.loss(self.regressor(given), wanted, batch.label).mean()
        hard = cross_entropy(logits, batch.label).mean()
        options = self.loss.config
        loss = options.ce_weight * hard + self.ramp(update) * options.kd_weight * soft
        update.minimize(loss)
        predicted = logits.argmax(1)
        accuracy = (predicted == batch.label).float().mean()
        metrics = {"loss": loss, "hard": hard, "soft": soft, "accuracy": accuracy}
        if self.teacher.head is not None:
            metrics["agreement"] = (predicted == taught.argmax(1)).float().mean()
        return metrics

    @torch.no_grad()
    def ask_teacher(self, batch: Labelled) -> tuple[Tensor, Tensor]:
        """The teacher's logits and what is compared; remembered where images never change."""
        memory, index = self.memory, batch.index
        if memory is None or not memory.holds(index):
            logits, compared = tapped(self.teacher, self.teacher_tap, batch.image)
            if memory is None:
                return logits, compared
            kept = {"logits": logits}
            if self.teacher_tap is not None:
                kept["compared"] = compared
            memory.keep(index, kept)
        logits = memory.recall(index, "logits")
        return logits, logits if self.teacher_tap is None else memory.recall(index, "compared")

    def ramp(self, update: Update) -> float:
        """From 0 to 1 over `kd_warmup` of the run, as decoupled distillation has it."""
        warmup = self.config.kd_warmup
        return min(1.0, update.progress / warmup) if warmup else 1.0

    def predict(self, image: Tensor) -> Tensor:
        """The student's logits (B, K)."""
        return self.student(image)

    def teach(self, image: Tensor) -> Tensor | None:
        """The teacher's logits (B, K); None of a teacher without a classifier."""
        return None if self.teacher.head is None else self.teacher(image)

    def embed(self, image: Tensor) -> Tensor:
        """The student's features (B, D)."""
        return self.student.encoder(image)

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """The cross-entropy of held-out images, which is comparable between all kinds of loss."""
        assert batch.label is not None
        return {"loss": cross_entropy(self.student(batch.image), batch.label)}
