"""A trained network to learn from: found, checked, loaded whole, and frozen."""

from dataclasses import replace

from dlrun.data.info import DataInfo
from dlrun.data.table import Pixels
from dlrun.errors import UserError
from dlrun.methods.base import Builder
from dlrun.methods.classifier import Classifier
from dlrun.methods.trained import Trained, freeze, load_whole, same_normalization
from dlrun.models.build import build_model


def load_teacher(
    reference: str | None, build: Builder, pixels: Pixels, needs_head: bool
) -> tuple[Classifier, Trained]:
    """The frozen network of `method.teacher`, and what is known of it, without the weights.

    Args:
        reference: a run or a checkpoint.
        build: of the present run; its report gets a line.
        pixels: how the student sees images.
        needs_head: whether the loss compares logits.

    Raises:
        UserError: it is not there, is no such network, or has learnt from other images or classes.
    """
    key = "method.teacher"
    if reference is None:
        raise UserError(f"{key}: missing; expected a run, its name or the beginning of it")
    trained = build.trained(reference)
    told = f"{key}={trained.source}"
    if trained.model is None or trained.info is None:
        raise UserError(f"{told}: a plain state dict does not say what network it is of")
    _demand_same_images(trained.info, build.info, told)
    _demand_same_pixels(trained, pixels, build.info, told)
    head, backbone = trained.part("head"), trained.part("backbone")
    if backbone is None:
        raise UserError(f"{told}: {trained} has no encoder to learn from")
    if head is None and needs_head:
        raise UserError(
            f"loss: this one compares logits, but {trained} has no classifier: give it one first "
            "(dlrun train method=supervised model.init_from=... model.freeze=backbone), or take "
            "loss=kd_cosine or loss=hint, which compare features"
        )
    encoder = build_model(trained.model, build.image_shape, build.num_classes)
    load_whole(encoder, backbone, told)
    teacher = Classifier(encoder, 0.0, None if head is None else build.num_classes)
    if head is not None and teacher.head is not None:
        load_whole(teacher.head, head, told)
    build.report.append(f"teacher: {trained}, {len(backbone) + len(head or ())} tensors")
    return freeze(teacher), replace(trained, state={})  # the weights are in the network now


def _demand_same_images(there: DataInfo, here: DataInfo, told: str) -> None:
    if there.image_shape != here.image_shape:
        raise UserError(
            f"{told}: it was trained on images of {there.image_shape}, these are {here.image_shape}"
        )
    if there.class_names != here.class_names:
        names = [", ".join(info.class_names[:3]) for info in (there, here)]
        raise UserError(
            f"{told}: it knows {len(there.class_names)} classes ({names[0]} ...), this data set "
            f"has {len(here.class_names)} ({names[1]} ...)"
        )


def _demand_same_pixels(trained: Trained, pixels: Pixels, here: DataInfo, told: str) -> None:
    assert trained.info is not None
    if trained.pixels != pixels or not same_normalization(trained.info, here):
        raise UserError(
            f"{told}: it was trained on pixels that were normalised otherwise ({trained.pixels}, "
            f"mean {[round(m, 3) for m in trained.info.mean]}; here {pixels}, mean "
            f"{[round(m, 3) for m in here.mean]})"
        )
