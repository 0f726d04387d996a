"""A teacher is held against what was recorded of it."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from dlrun.data.info import DataInfo
from dlrun.data.table import DataSet, PixelScale, Table
from dlrun.errors import UserError
from dlrun.evaluation.inference import Inference
from dlrun.methods.base import Method
from dlrun.models.pretrained import Pretrained
from dlrun.training.teacher import verify_teacher

ROWS = 400
FACTS = DataInfo((1, 2, 2), checksum="of these")


class Student(Method):
    """Its teacher reads the class off the first pixel, and errs in the first `wrong` images."""

    def __init__(self, wrong: int, recorded: float | None, same_split: bool, head: bool) -> None:
        super().__init__()
        self.source = Pretrained(
            "runs/x", {}, {}, info=FACTS, accuracy=recorded, same_options=same_split
        )
        self.teacher, self.student = nn.Identity(), nn.Identity()
        self.wrong, self.head = wrong, head

    def teach(self, image: Tensor) -> Tensor | None:
        assert not self.training and not torch.is_grad_enabled()
        if not self.head:
            return None
        number = (image[:, 0, 0, 0] * 255).round() + 256 * (image[:, 0, 0, 1] * 255).round()
        right = number >= self.wrong
        return torch.stack([~right, right], 1).float()


def inference(
    wrong: int,
    recorded: float | None,
    same_split: bool = True,
    rows: int = ROWS,
    head: bool = True,
    checksum: str = "of these",
) -> Inference:
    """Of a val split of 400, all of class 1."""
    images = torch.zeros(ROWS, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(ROWS) % 256
    images[:, 0, 0, 1] = torch.arange(ROWS) // 256
    whole = Table(images, torch.ones(ROWS, dtype=torch.int64))
    val = whole.subset(torch.arange(rows))
    # On train and test the teacher is right about nothing.
    other = Table(images, torch.full((ROWS,), 2))
    mean, std = torch.zeros(1), torch.ones(1)
    data = DataSet("x", other, val, other, ("a", "b", "c"), None, mean, std, checksum)
    return Inference(
        Student(wrong, recorded, same_split, head).train(), data,
        PixelScale.of("unit", mean, std), torch.device("cpu"), torch.contiguous_format, nullcontext,
    )  # fmt: skip


def test_equal_is_told() -> None:
    made = inference(80, 0.8)
    assert verify_teacher(made) == "teacher: val accuracy 0.8000, 0.8000 when it was trained"
    assert made.method.training


@pytest.mark.parametrize("wrong", [77, 80, 83])
def test_a_few_images_more_or_less_are_another_precision(wrong: int) -> None:
    told = verify_teacher(inference(wrong, 0.8))
    assert told == f"teacher: val accuracy {1 - wrong / ROWS:.4f}, 0.8000 when it was trained"


@pytest.mark.parametrize("wrong", [0, 75, 85, 400])
def test_on_the_same_images_it_must_be_neither_worse_nor_better(wrong: int) -> None:
    with pytest.raises(UserError) as refusal:
        verify_teacher(inference(wrong, 0.8))
    assert str(refusal.value) == (
        f"method.teacher=runs/x: has an accuracy of {1 - wrong / ROWS:.4f} on the val split here, "
        "0.8000 was recorded when it was trained; it is not the same network or does not see the "
        "same images"
    )


def test_on_other_images_it_may_be_better() -> None:
    """It may have been trained on some of them."""
    told = verify_teacher(inference(0, 0.8, same_split=False))
    assert told == ("teacher: val accuracy 1.0000, 0.8000 when it was trained, on other val images")


def test_other_images_under_the_same_options_are_other_images() -> None:
    told = verify_teacher(inference(0, 0.8, checksum="of others"))
    assert told == ("teacher: val accuracy 1.0000, 0.8000 when it was trained, on other val images")


def test_on_other_images_it_may_be_worse_by_chance_and_not_by_more() -> None:
    slack = 0.01 + 3 * math.sqrt(0.8 * 0.2 / ROWS)  # 0.07, so 28 images
    most = 80 + int(slack * ROWS)
    told = verify_teacher(inference(most, 0.8, same_split=False))
    assert told is not None and told.endswith("on other val images")
    with pytest.raises(UserError, match=r"0\.8000 was recorded"):
        verify_teacher(inference(most + 1, 0.8, same_split=False))


def test_what_cannot_be_measured_is_told() -> None:
    said = "teacher: its accuracy was not measured again, "
    assert verify_teacher(inference(0, 0.8, rows=0)) == said + "there is no val split"
    assert verify_teacher(inference(0, None)) == said + "none was recorded"
    assert verify_teacher(inference(0, None, rows=0)) == said + "none was recorded"


def test_without_a_teacher_or_its_classifier_there_is_nothing_to_tell() -> None:
    assert verify_teacher(inference(0, 0.8, head=False)) is None
    made = inference(0, 0.8)
    alone = Inference(
        Method(), made.data, made.scale, made.device, made.memory_format, made.autocast
    )
    assert verify_teacher(alone) is None


@pytest.mark.parametrize("recorded", [0.0, 1.0])
def test_a_teacher_that_is_always_right_or_wrong_has_the_tolerance_still(recorded: float) -> None:
    wrong = round(ROWS * (1 - recorded))
    made = inference(wrong - 2 if wrong else 2, recorded, same_split=False)
    assert verify_teacher(made) is not None
