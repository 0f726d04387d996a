"""Supervised training against the lecture notes' custom training loop (section 2.3)."""

import copy

import torch
from parts import CPU, config_of, method_of, take_step

from dlrun.data.batches import Labelled
from dlrun.data.info import DataInfo
from dlrun.training.optimizers import build_optimizers
from dlrun.training.update import Update


def test_steps_are_the_notes_loop() -> None:
    overrides = (
        "method=supervised",
        "model=mlp",
        "model.hidden=[128]",
        "model.batch_norm=false",
        "optimizer=adam",
    )
    method = method_of(*overrides, info=DataInfo((1, 28, 28), tuple("0123456789")))
    adam = config_of(*overrides, "optimizer.weight_decay=0").optimizer
    optimizers = build_optimizers(adam, method.parameter_groups(), 16, fused=False)
    update = Update(optimizers, CPU, lambda step: 1.0, total=5)

    # The notes' network. Corrected: no softmax, since CrossEntropyLoss takes logits.
    model = torch.nn.Sequential(
        copy.deepcopy(method.encoder[1]),
        torch.nn.ReLU(),
        copy.deepcopy(method.head),
    )
    optimizer = torch.optim.Adam(model.parameters())
    loss_fn = torch.nn.CrossEntropyLoss()

    for step in range(5):
        batch_x, batch_y = torch.randn(16, 1, 28, 28), torch.randint(10, (16,))
        metrics = take_step(method, update, Labelled(batch_x, batch_y, torch.arange(16)), step)

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
