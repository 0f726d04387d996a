"""Supervised training against the lecture notes' custom training loop (section 2.3)."""

import copy

import torch
from parts import CPU

from dlrun.data.batches import Labelled
from dlrun.data.info import DataInfo
from dlrun.methods.base import Builder
from dlrun.methods.supervised import Supervised
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.training.optimizers import build_optimizers
from dlrun.training.update import Update


def test_steps_are_the_notes_loop() -> None:
    torch.manual_seed(0)
    mlp, loss = lookup("model", "mlp"), lookup("loss", "cross_entropy")
    build = Builder(
        Choice("mlp", mlp.Config(hidden=(128,), batch_norm=False, init_from=None, freeze=None)),
        Choice("cross_entropy", loss.Config(label_smoothing=0.0)),
        DataInfo((1, 28, 28), tuple("0123456789")),
    )
    method = Supervised(Supervised.Config(dropout=0.0, l1=0.0, l2=0.0), build)
    adam = lookup("optimizer", "adam").Config(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, clip_norm=None
    )
    optimizers = build_optimizers(Choice("adam", adam), method.parameter_groups(), 16, fused=False)
    update = Update(optimizers, CPU, lambda step: 1.0, total=5)

    # The notes' network. Corrected: no softmax, since CrossEntropyLoss takes logits.
    model = torch.nn.Sequential(
        copy.deepcopy(method.encoder.layers[1]),
        torch.nn.ReLU(),
        copy.deepcopy(method.head),
    )
    optimizer = torch.optim.Adam(model.parameters())
    loss_fn = torch.nn.CrossEntropyLoss()

    for step in range(5):
        batch_x, batch_y = torch.randn(16, 1, 28, 28), torch.randint(10, (16,))

        update.begin(step)
        metrics = method.step(Labelled(batch_x, batch_y, torch.arange(16)), update)
        update.finish()

        # The notes' loop.
        optimizer.zero_grad()
        predictions = model(batch_x.flatten(1))
        loss = loss_fn(predictions, batch_y)
        loss.backward()
        optimizer.step()

        torch.testing.assert_close(metrics["loss"], loss, rtol=1e-6, atol=1e-6)
        share = (predictions.argmax(1) == batch_y).float().mean()
        assert metrics["accuracy"] == share
        ours = [*method.encoder.parameters(), *method.head.parameters()]
        for p, q in zip(ours, model.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=0, atol=1e-6)
