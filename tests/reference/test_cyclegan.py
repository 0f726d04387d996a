"""CycleGAN against the lecture notes' pseudo-code, line by line, with identity loss and pools."""

# ruff: noqa: N802, N803, N806  (the capitals are the notes' and the authors')
import copy

import pytest
import torch
from parts import literal_query, method_of, take_step, updating
from torch import Tensor, nn

from dlrun.data.batches import Unpaired
from dlrun.data.info import DataInfo
from dlrun.methods.cyclegan import CycleGAN
from dlrun.training.update import Update

SHAPE, STEPS, LR = (1, 16, 16), 4, 0.01


def cyclegan(identity: float = 0.5, pool: int = 3) -> CycleGAN:
    method: CycleGAN = method_of(
        "method=cyclegan", "model.width=4", "model.blocks=1", "method.discriminator.width=4",
        "method.discriminator.layers=1", f"method.identity={identity}", f"method.pool={pool}",
        info=DataInfo(SHAPE),
    )  # fmt: skip
    for parameter in method.parameters():  # away from N(0, 0.02), where little can be told apart
        nn.init.normal_(parameter, 0, 0.1)
    return method


def update_of(method: CycleGAN) -> Update:
    return updating(method, lr=LR, momentum=0.5)


@pytest.mark.parametrize("identity", [0.0, 0.5])
def test_steps_are_the_notes_loop(identity: float) -> None:
    """In float64, since the L1 losses turn the smallest rounding into a gradient's sign."""
    method = cyclegan(identity=identity)
    for network in (method.G_AB, method.G_BA, method.D_A, method.D_B):
        network.double()
    update = update_of(method)

    G_AB, G_BA, D_A, D_B = (
        copy.deepcopy(network) for network in (method.G_AB, method.G_BA, method.D_A, method.D_B)
    )
    criterion_gan, criterion_cycle = nn.MSELoss(), nn.L1Loss()
    λ = 10.0
    optim_G = torch.optim.SGD([*G_AB.parameters(), *G_BA.parameters()], lr=LR, momentum=0.5)
    optim_D_B = torch.optim.SGD(D_B.parameters(), lr=LR, momentum=0.5)
    optim_D_A = torch.optim.SGD(D_A.parameters(), lr=LR, momentum=0.5)
    pool_A: list[Tensor] = []
    pool_B: list[Tensor] = []

    for step in range(STEPS):
        A, B = 2 * torch.rand(2, 2, *SHAPE).double() - 1
        torch.manual_seed(step)
        metrics = take_step(method, update, Unpaired(A, B), step)

        torch.manual_seed(step)
        # Corrected: labels of the shape of the discriminator's map, not of a column of the image.
        real_labels = torch.ones_like(D_A(A))
        fake_labels = torch.zeros_like(D_A(A))

        # train generators
        optim_G.zero_grad()

        fake_B = G_AB(A)
        fake_A = G_BA(B)

        loss_G_AB = criterion_gan(D_B(fake_B), real_labels)
        loss_G_BA = criterion_gan(D_A(fake_A), real_labels)

        recov_A = G_BA(fake_B)
        recov_B = G_AB(fake_A)

        loss_cycle_A = criterion_cycle(recov_A, A)
        loss_cycle_B = criterion_cycle(recov_B, B)

        loss_G = loss_G_AB + loss_G_BA + λ * (loss_cycle_A + loss_cycle_B)
        # Added: the paper's identity loss, weighed relative to the cycle's.
        loss_identity = criterion_cycle(G_AB(B), B) + criterion_cycle(G_BA(A), A)
        loss_G = loss_G + λ * identity * loss_identity
        loss_G.backward()
        optim_G.step()

        # train discriminator D_B
        optim_D_B.zero_grad()

        loss_real_B = criterion_gan(D_B(B), real_labels)
        shown_B = literal_query(pool_B, 3, fake_B)  # added: the pool
        loss_fake_B = criterion_gan(D_B(shown_B.double()), fake_labels)
        loss_D_B = (loss_real_B + loss_fake_B) / 2
        loss_D_B.backward()
        optim_D_B.step()

        # train discriminator D_A
        optim_D_A.zero_grad()

        loss_real_A = criterion_gan(D_A(A), real_labels)
        shown_A = literal_query(pool_A, 3, fake_A)
        loss_fake_A = criterion_gan(D_A(shown_A.double()), fake_labels)
        loss_D_A = (loss_real_A + loss_fake_A) / 2
        loss_D_A.backward()
        optim_D_A.step()

        expected = {
            "generators": loss_G,
            "adversarial": loss_G_AB + loss_G_BA,
            "cycle": loss_cycle_A + loss_cycle_B,
            "identity": loss_identity,
            "discriminators": loss_D_A + loss_D_B,
        }
        assert metrics.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(metrics[name], value.float(), rtol=1e-6, atol=1e-6)
        pairs = [(method.G_AB, G_AB), (method.G_BA, G_BA), (method.D_A, D_A), (method.D_B, D_B)]
        for ours, theirs in pairs:
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
        for pool, plain in ((method.pool_A, pool_A), (method.pool_B, pool_B)):
            torch.testing.assert_close(pool.images[: len(plain)], torch.stack(plain))


def test_each_part_moves_its_own_networks_alone() -> None:
    """G's gradients never leak into D, nor D's into G."""
    method = cyclegan()
    update = update_of(method)
    order: list[str] = []
    minimize = update.minimize

    def watched(loss: Tensor, name: str = "main") -> None:
        before = {n: p.detach().clone() for n, p in method.named_parameters()}
        minimize(loss, name)
        moved = {n.split(".")[0] for n, p in method.named_parameters() if not p.equal(before[n])}
        expected = {
            "generators": {"G_AB", "G_BA"},
            "discriminator_B": {"D_B"},
            "discriminator_A": {"D_A"},
        }[name]
        assert moved == expected
        assert all(p.grad is None for p in method.parameters())
        order.append(name)

    update.minimize = watched  # type: ignore[method-assign]
    update.begin(0)
    method.step(Unpaired(*(2 * torch.rand(2, 2, *SHAPE) - 1)), update)
    assert order == ["generators", "discriminator_B", "discriminator_A"]


@pytest.mark.parametrize("pool", [0, 3])
def test_the_discriminators_see_translations_without_a_way_back(pool: int) -> None:
    method = cyclegan(pool=pool)
    seen: list[Tensor] = []
    for network in (method.D_A, method.D_B):
        network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    update = update_of(method)
    update.begin(0)
    method.step(Unpaired(*(2 * torch.rand(2, 2, *SHAPE) - 1)), update)
    # First for the generators, translations alone; then real and translated ones together.
    assert [(len(images), images.requires_grad) for images in seen] == [
        (2, True), (2, True), (4, False), (4, False),
    ]  # fmt: skip


def test_a_translation_is_the_generators_image_in_zero_to_one() -> None:
    method = cyclegan()
    x = 2 * torch.rand(3, *SHAPE) - 1
    assert torch.equal(method.translate(x, "a_to_b"), (method.G_AB(x) + 1) / 2)
    assert torch.equal(method.translate(x, "b_to_a"), (method.G_BA(x) + 1) / 2)
    translated = method.translate(x, "a_to_b")
    assert translated.min() >= 0
    assert translated.max() <= 1


def set_requires_grad(networks: list[nn.Module], wanted: bool) -> None:
    for network in networks:
        network.requires_grad_(wanted)


def test_steps_are_the_authors_own_with_one_adam_over_both_discriminators() -> None:
    """`optimize_parameters` of the authors' code; their D_A judges B, as netG_A's images do."""
    method = cyclegan()
    for network in (method.G_AB, method.G_BA, method.D_A, method.D_B):
        network.double()
    netG_A, netG_B, netD_A, netD_B = (
        copy.deepcopy(network) for network in (method.G_AB, method.G_BA, method.D_B, method.D_A)
    )

    def adam(parameters: list[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999))

    update = updating(method, torch.optim.Adam, lr=1e-3, betas=(0.5, 0.999))
    optimizer_G = adam([*netG_A.parameters(), *netG_B.parameters()])
    optimizer_D = adam([*netD_A.parameters(), *netD_B.parameters()])
    lambda_idt, lambda_A, lambda_B = 0.5, 10.0, 10.0
    fake_A_pool: list[Tensor] = []
    fake_B_pool: list[Tensor] = []

    def criterionGAN(prediction: Tensor, target_is_real: bool) -> Tensor:
        target = torch.full_like(prediction, 1.0 if target_is_real else 0.0)
        return nn.functional.mse_loss(prediction, target)

    def backward_D_basic(netD: nn.Module, real: Tensor, fake: Tensor) -> None:
        loss_D_real = criterionGAN(netD(real), True)
        loss_D_fake = criterionGAN(netD(fake.detach()), False)
        ((loss_D_real + loss_D_fake) * 0.5).backward()

    for step in range(STEPS):
        real_A, real_B = 2 * torch.rand(2, 2, *SHAPE).double() - 1
        torch.manual_seed(step)
        take_step(method, update, Unpaired(real_A, real_B), step)

        torch.manual_seed(step)
        fake_B = netG_A(real_A)
        rec_A = netG_B(fake_B)
        fake_A = netG_B(real_B)
        rec_B = netG_A(fake_A)

        set_requires_grad([netD_A, netD_B], False)  # while the generators are optimised
        optimizer_G.zero_grad()
        loss_idt_A = nn.functional.l1_loss(netG_A(real_B), real_B) * lambda_B * lambda_idt
        loss_idt_B = nn.functional.l1_loss(netG_B(real_A), real_A) * lambda_A * lambda_idt
        loss_G_A = criterionGAN(netD_A(fake_B), True)
        loss_G_B = criterionGAN(netD_B(fake_A), True)
        loss_cycle_A = nn.functional.l1_loss(rec_A, real_A) * lambda_A
        loss_cycle_B = nn.functional.l1_loss(rec_B, real_B) * lambda_B
        loss_G = loss_G_A + loss_G_B + loss_cycle_A + loss_cycle_B + loss_idt_A + loss_idt_B
        loss_G.backward()
        optimizer_G.step()

        set_requires_grad([netD_A, netD_B], True)
        optimizer_D.zero_grad()
        backward_D_basic(netD_A, real_B, literal_query(fake_B_pool, 3, fake_B).double())
        backward_D_basic(netD_B, real_A, literal_query(fake_A_pool, 3, fake_A).double())
        optimizer_D.step()

        theirs = (netG_A, netG_B, netD_A, netD_B)
        ours = (method.G_AB, method.G_BA, method.D_B, method.D_A)
        for mine, other in zip(ours, theirs, strict=True):
            for p, q in zip(mine.parameters(), other.parameters(), strict=True):
                # Losses and pool are float32 here, float64 there; a step of Adam's is 1e-3.
                torch.testing.assert_close(p, q, rtol=0, atol=5e-6)
