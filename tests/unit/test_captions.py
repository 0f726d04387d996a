"""Words beside a picture's rows."""

import torch

from dlrun.evaluation.captions import with_captions


def words_of(captions: list[str], channels: int = 1, height: int = 90) -> torch.Tensor:
    picture = torch.full((channels, height, 50), 0.5)
    captioned = with_captions(picture, captions)
    assert torch.equal(captioned[:, :, -50:], picture)
    return captioned[:, :, :-50]


def test_a_caption_stands_beside_its_row() -> None:
    words = words_of(["horse", "", "as deer"])
    dark = (words[0] < 0.5).any(1)
    assert dark[:30].any() and not dark[30:60].any() and dark[60:].any()
    rows = dark[:30].nonzero()[:, 0]
    assert abs(float(rows.float().mean()) - 15) < 4  # in the middle of its row


def test_black_on_white_in_every_channel() -> None:
    words = words_of(["A", "B"], channels=3)
    assert words.shape[:2] == (3, 90)
    assert torch.equal(words[0], words[1]) and torch.equal(words[0], words[2])
    assert words.min() < 0.1 and (words == 1).float().mean() > 0.8


def test_other_words_are_another_picture_and_long_ones_are_cut() -> None:
    assert not torch.equal(words_of(["horse"]), words_of(["house"]))
    long = words_of([f"as {'a very long name of a class ' * 5}"])
    assert long.shape[2] < 200 and (long < 0.5).any()
