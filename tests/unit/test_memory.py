"""What a frozen network said of an image, kept by its row."""

import torch

from dlrun.models.memory import Memory


def test_rows_are_known_once_kept_and_come_back_in_any_order() -> None:
    memory = Memory(10)
    index = torch.tensor([7, 2, 5])
    assert not memory.holds(index)
    values = torch.randn(3, 4, 2, 2)
    memory.keep(index, {"feature": values, "logits": values[:, 0, 0]})
    assert memory.holds(torch.tensor([5, 7]))
    assert not memory.holds(torch.tensor([5, 6]))
    assert torch.equal(memory.recall(torch.tensor([5, 7]), "feature"), values[[2, 0]])
    assert torch.equal(memory.recall(torch.tensor([2]), "logits"), values[1:2, 0, 0])


def test_it_is_no_part_of_a_checkpoint() -> None:
    memory = Memory(4)
    memory.keep(torch.tensor([0]), {"logits": torch.ones(1, 3)})
    assert memory.state_dict() == {}
