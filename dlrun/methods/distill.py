"""Distillation: a small student learns from a trained teacher (Hinton et al. 2015, 1503.02531).

The loss group says what of the two is compared: soft targets (`kd`, standardised in
`kd_standardized`, `kd_cross_entropy`, the lecture notes' form), decoupled (`dkd`), hidden
representations (`kd_cosine`; `hint`, FitNets, through a trainable regressor; `attention`). The
teacher sees the very view that the student sees, in eval mode, and none of it moves. Otherwise than
in the notes: what they call alpha and beta are `loss.ce_weight` and `loss.kd_weight`, since other
code means the reverse by alpha; soft losses are multiplied by T^2, which they leave out. Hints are
one stage, not two as in the FitNets paper. The lecture notes say of the cosine loss that the
student's features become a permutation of the teacher's; they come to point the same way.

Expect: docs/results.md, "distill".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from dlrun.data.views import HeldOut, Labelled
from dlrun.errors import UserError
from dlrun.losses.classification import cross_entropy
from dlrun.methods.base import Builder, Method, Section, Update
from dlrun.methods.classifier import Classifier, demand_path, last_map, tapped
from dlrun.methods.memory import Memory
from dlrun.methods.regressor import regressor_between
from dlrun.methods.teacher import load_teacher
from dlrun.options import Choice, Count, Fraction, Group, NonEmpty, Range, Whole

MEMORY_BYTES = 2 * 1024**3


class Distill(Method):
    """A student with a loss on labels and a loss on what a frozen teacher makes of the image."""

    @dataclass(frozen=True)
    class Config:
        teacher: NonEmpty | None
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
    cpu_bf16 = True
    parts: ClassVar[dict[str, str]] = {"backbone": "student.encoder.", "head": "student.head."}
    inference = ("student.",)

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        # First, so that it begins with the weights that it would begin with alone.
        self.student = Classifier(build.model(), config.dropout, build.num_classes)
        self.loss: Any = build.loss()
        self.teacher, self.source = load_teacher(
            config.teacher, build, self.pixels, needs_head=self.loss.compares == "logits"
        )
        self.student_tap, self.teacher_tap = self._taps(build)
        self.regressor: nn.Module = nn.Identity()
        if self.loss.regressor:
            self.regressor = regressor_between(*self._features(build))
        self.memory = self._memory(build)

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

    def _taps(self, build: Builder) -> tuple[str, str]:
        """The paths that are compared: as given; else the features, or the last map."""
        paths = []
        for key, network in (("student_tap", self.student), ("teacher_tap", self.teacher)):
            path = getattr(self.config, key)
            if path is None and self.loss.compares == "maps":
                path = last_map(network.eval(), _one_image(build))
                if path is None:
                    raise UserError(f"loss: this one compares maps, the {key[:7]} model has none")
            demand_path(network, path or "", f"method.{key}")
            paths.append(path or "")
        return paths[0], paths[1]

    def _memory(self, build: Builder) -> Memory | None:
        """Where images are not augmented, and what is to be kept is not too much."""
        if build.augmented:
            return None
        numbers = self.teacher.num_outputs
        if self.loss.compares != "logits":
            numbers += self._features(build)[1].numel()
        return Memory(build.rows) if 4 * numbers * build.rows <= MEMORY_BYTES else None

    @torch.no_grad()
    def _features(self, build: Builder) -> tuple[Tensor, Tensor]:
        """What the taps give for one image, for their shapes."""
        image = _one_image(build)
        student = tapped(self.student.eval(), self.student_tap, image)[1]
        return student, tapped(self.teacher, self.teacher_tap, image)[1]

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """The student and the regressor; the teacher is in no optimizer."""
        return {"main": [*self.student.parameters(), *self.regressor.parameters()]}

    def step(self, batch: Labelled, update: Update) -> dict[str, Tensor]:
        """The notes' teacher-student loop: hard labels and what the teacher says, one loss."""
        teacher, teacher_feature = self.taught(batch)
        student, student_feature = tapped(self.student, self.student_tap, batch.image)
        if self.loss.compares == "logits":
            given, wanted = student, teacher
        else:
            given, wanted = self.regressor(student_feature), teacher_feature
        soft = self.loss(given, wanted, batch.label).mean()
        hard = cross_entropy(student, batch.label).mean()
        options = self.loss.config
        loss = options.ce_weight * hard + self.ramp(update) * options.kd_weight * soft
        update.minimize(loss)
        told = {"loss": loss, "hard": hard, "soft": soft}
        predicted = student.argmax(1)
        told["accuracy"] = (predicted == batch.label).float().mean()
        if self.teacher.head is not None:
            told["agreement"] = (predicted == teacher.argmax(1)).float().mean()
        return told

    @torch.no_grad()
    def taught(self, batch: Labelled) -> tuple[Tensor, Tensor]:
        """The teacher's logits and what its tap gives; remembered where images never change."""
        memory, index = self.memory, batch.index
        if memory is None:
            return tapped(self.teacher, self.teacher_tap, batch.image)
        if not memory.holds(index):
            logits, feature = tapped(self.teacher, self.teacher_tap, batch.image)
            kept = {"logits": logits}
            if self.loss.compares != "logits":
                kept["feature"] = feature
            memory.keep(index, kept)
        logits = memory.recall(index, "logits")
        if self.loss.compares == "logits":
            return logits, logits
        return logits, memory.recall(index, "feature")

    def ramp(self, update: Update) -> float:
        """From 0 to 1 over `kd_warmup` of the run, as decoupled distillation has it."""
        warmup = self.config.kd_warmup
        return min(1.0, update.progress / warmup) if warmup else 1.0

    def predict(self, image: Tensor) -> Tensor:
        """The student's logits (B, K)."""
        logits: Tensor = self.student(image)
        return logits

    def teach(self, image: Tensor) -> Tensor | None:
        """The teacher's logits (B, K); None of a teacher without a classifier."""
        return None if self.teacher.head is None else self.teacher(image)

    def embed(self, image: Tensor) -> Tensor:
        """The student's features (B, D)."""
        features: Tensor = self.student.encoder(image)
        return features

    def validate(self, batch: HeldOut) -> dict[str, Tensor]:
        """The cross-entropy of held-out images, which compares between all kinds of loss."""
        assert batch.label is not None
        return {"loss": cross_entropy(self.student(batch.image), batch.label)}


def _one_image(build: Builder) -> Tensor:
    return torch.zeros(1, *build.image_shape)
