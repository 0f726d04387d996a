"""Images a second of a run against the same networks in a bare loop on one ready batch.

    python benchmarks/throughput.py                 # all jobs, about 9 minutes on two cores
    python benchmarks/throughput.py vae --rounds 7

Both arms have the same networks, precision, memory format and optimizer, and a malloc that keeps
what a step has freed (`--no-mallopt` tells what that is worth), in one process, in turn, so that
what else the machine does meets both. A run is the whole loop: order, gather, augmentation,
seeding, the method's step, metrics.jsonl, TensorBoard, status, progress; evaluation, pictures and
checkpoints are left out, since how often they happen is the user's choice. The median of the
rounds' ratios is what counts; a bare loop draws nothing, so at a ratio of 1 data is free.

    python benchmarks/throughput.py supervised --no-mallopt

leaves malloc as it is; run both in turn, since a process cannot go back.
"""

import argparse
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.config.typed import to_plain_types
from dlrun.console import Console
from dlrun.losses.reconstruction import gaussian_kl
from dlrun.methods.byol import decay, update_average
from dlrun.methods.cyclegan import l1
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.loggers import LoggedRun, Tracker, open_loggers
from dlrun.runs.progress import ProgressView
from dlrun.runs.signals import StopRequest
from dlrun.runs.status import Log, StatusWriter
from dlrun.text import flatten
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment, assemble
from dlrun.training.final_test import inference_of
from dlrun.training.hardware import keep_freed_memory
from dlrun.training.inputs import Inputs
from dlrun.training.loop import Loop, Progress
from dlrun.training.run import describe

TEACHER = "{teacher}"
JOBS = {
    "supervised": (["method=supervised"], 40, 0.95),
    "distill": (["method=distill", f"method.teacher={TEACHER}"], 30, 0.95),
    "siamese": (["method=siamese"], 40, 0.95),
    "capsnet": (["method=capsnet", "batch_size=64"], 4, 0.95),
    "byol": (["method=byol"], 8, 0.95),
    "vae": (["method=vae", "model=mlp_autoencoder", "model.hidden=[400]"], 1500, 0.85),
    "vae-conv": (["method=vae"], 150, 0.95),
    "autoencoder": (["method=autoencoder"], 150, 0.95),
    "dbvae": (["method=dbvae", "dataset.positive=Sandal"], 150, 0.95),
    "cyclegan": (["method=cyclegan"], 40, 0.95),
    "cyclegan-unet": (["method=cyclegan", "model=unet_generator", "model.width=16"], 40, 0.95),
}
"""Overrides, optimizer steps of a round, and the ratio that is asked for.

What dbvae looks at before each epoch, every tenth image, is a part of it, in either arm.
"""


class TrainingOnly(Loop):
    """The loop without what the user may do more or less often."""

    def _evaluate(self) -> None:
        pass

    def _show_views(self) -> None:
        pass  # once a run

    def save(self) -> None:
        pass


def config_of(overrides: list[str], steps: int) -> TrainConfig:
    return check(compose_plain([*overrides, f"steps={steps}", "epochs=100000"], None))


def make_teacher(folder: Path) -> Path:
    """A resnet56 that has learnt nothing, which costs as much as one that has."""
    config = config_of(["method=supervised", "model=resnet56"], 1)
    experiment = assemble(config, Inputs(RunFolder(folder), folder, {}))
    content = describe(to_plain_types(config), experiment)
    content |= {"step": 0, "val": {}, "val_step": 0, "method": experiment.method.state_dict()}
    checkpoint.save(folder / "teacher.pt", content)
    return folder / "teacher.pt"


def run_seconds(overrides: list[str], steps: int) -> float:
    """Of `steps` steps of the real loop."""
    with tempfile.TemporaryDirectory() as outputs:
        config = config_of(overrides, steps)
        folder = claim(Path(outputs), "benchmark", config.method.name, None)
        plain = to_plain_types(config)
        folder.prepare(plain)
        experiment = assemble(config, Inputs(folder, Path(outputs), {}))
        logged = LoggedRun(folder.path, 0, flatten(plain))
        tracker = Tracker(folder, 0, open_loggers(config.logger, logged))
        tracker.scalars(0, {"warm": 0.0})  # TensorBoard's import is start-up, not speed
        log = Log(folder.log, Console(file=io.StringIO()))
        view = ProgressView(log, steps, 0, config.batch_size, experiment.steps_per_epoch)
        loop = TrainingOnly(
            experiment, inference_of(experiment, experiment.method), folder, tracker, view,
            StatusWriter(folder, steps, 0), Progress(), dict,
        )  # fmt: skip
        start = time.perf_counter()
        with view:
            loop.run(StopRequest())
        seconds = time.perf_counter() - start
        tracker.close()
    return seconds


def bare_seconds(overrides: list[str], steps: int) -> float:
    """Of `steps` steps on one ready batch, the paper's formulas straight in torch."""
    config = config_of(overrides, steps)
    with tempfile.TemporaryDirectory() as folder:
        experiment = assemble(config, Inputs(RunFolder(Path(folder)), Path(folder), {}))
    experiment.method.train()
    step = BARE[config.method.name](experiment)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - start


def bare_supervised(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()

    def step() -> None:
        with experiment.hardware.autocast():
            logits = method.head(method.encoder(batch.image))
            loss = F.cross_entropy(logits, batch.label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_distill(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()

    def step() -> None:
        with experiment.hardware.autocast():
            with torch.no_grad():
                taught = (method.teacher(batch.image).float() / 4).softmax(1)
            logits = method.student(batch.image).float()
            soft = F.kl_div((logits / 4).log_softmax(1), taught, reduction="batchmean")
            loss = 0.1 * F.cross_entropy(logits, batch.label) + 0.9 * 16 * soft
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_siamese(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()

    def step() -> None:
        with experiment.hardware.autocast():
            z = F.normalize(method.projection(method.encoder(batch.image)).float(), dim=1)
        distance = torch.cdist(z, z)
        same = batch.label[:, None] == batch.label
        positive = (distance * same).max(1).values
        negative = (distance + 10 * same).min(1).values
        F.relu(positive - negative + 0.2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_capsnet(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()
    wanted = F.one_hot(batch.label, 10).float()

    def step() -> None:
        with experiment.hardware.autocast():
            capsules = method.capsules(batch.image)
            lengths = capsules.float().norm(dim=2)
            margin = wanted * F.relu(0.9 - lengths).square()
            margin = margin + 0.5 * (1 - wanted) * F.relu(lengths - 0.1).square()
            picture = method.decoder((capsules * wanted[..., None]).flatten(1)).float()
            error = (picture.flatten(1) - batch.image.flatten(1)).square().sum(1).mean()
            loss = margin.sum(1).mean() + 0.0005 * error
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_byol(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    optimizer, probe = experiment.update.optimizers.values()

    def step() -> None:
        with experiment.hardware.autocast():
            h = method.online[0](batch.first)
            q1 = method.predictor(method.online[1](h))
            q2 = method.predictor(method.online(batch.second))
            with torch.no_grad():
                z1, z2 = method.target(batch.second), method.target(batch.first)
            similarity = F.cosine_similarity(q1, z1) + F.cosine_similarity(q2, z2)
            loss = (4 - 2 * similarity).mean()
            probed = F.cross_entropy(method.probe(h.detach()), batch.label)
        (loss + probed).backward()
        for each in (optimizer, probe):
            each.step()
            each.zero_grad()
        update_average(method.target, method.online, decay(0.99, 0.5))

    return step


def bare_vae(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()
    x = batch.image

    def step() -> None:
        with experiment.hardware.autocast():
            h = method.encoder(x)
            mu, logvar = method.fc_mu(h), method.fc_logvar(h)
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
            reconstruction = F.binary_cross_entropy_with_logits(
                method.decoder(z), x, reduction="sum"
            )
            loss = (reconstruction + gaussian_kl(mu, logvar).sum()) / len(x)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_autoencoder(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()
    x = batch.image

    def step() -> None:
        with experiment.hardware.autocast():
            picture = method.decoder(method.encoder(x)).float()
            loss = (picture - x).square().sum() / len(x)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_dbvae(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    (optimizer,) = experiment.update.optimizers.values()
    x, y = batch.image, batch.label
    positive = (y == experiment.data.positive).float()
    train, taken = experiment.data.train, itertools.count()
    positives = train.images[train.labels == experiment.data.positive].float().div(255)

    def resample() -> torch.Tensor:
        """The notes' listing: histograms of each number of the code, smoothed and inverted."""
        with torch.no_grad(), experiment.hardware.autocast():
            mu = torch.cat([method.fc_mu(method.encoder(part)) for part in positives.split(len(x))])
        chances = torch.zeros(len(mu))
        for code in mu.T:
            low, high = float(code.min()), float(code.max())
            density = torch.histc(code, 10, low, high) / len(code) + method.config.alpha
            place = ((code - low) / (high - low) * 10).long().clamp_max(9)
            rarity = 1 / (density / density.sum())[place]
            chances = torch.maximum(chances, rarity / rarity.sum())
        return chances / chances.sum()

    def step() -> None:
        if next(taken) % experiment.steps_per_epoch == 0:
            resample()
        with experiment.hardware.autocast():
            h = method.encoder(x)
            logits = method.fc_logit(h).float()
            mu, logvar = method.fc_mu(h).float(), method.fc_logvar(h).float()
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
            pixels = F.binary_cross_entropy_with_logits(
                method.decoder(z).float(), x, reduction="none"
            )
            vae = pixels.flatten(1).sum(1) + gaussian_kl(mu, logvar)
            loss = 100 * F.cross_entropy(logits, y) + (positive * vae).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare_cyclegan(experiment: Experiment) -> Callable[[], None]:
    method, batch = experiment.method, experiment.batches.draw(0)
    optimizers, a, b = experiment.update.optimizers, batch.a, batch.b
    generators = [*method.G_AB.parameters(), *method.G_BA.parameters()]

    def discriminate(network: torch.nn.Module, real: torch.Tensor, fake: torch.Tensor) -> None:
        real_scores, fake_scores = network(torch.cat([real, fake.detach()])).float().chunk(2)
        loss = ((real_scores - 1).square().mean() + fake_scores.square().mean()) / 2
        loss.backward()

    def step() -> None:
        with experiment.hardware.autocast():
            fake_b, same_b = method.G_AB(torch.cat([a, b])).chunk(2)
            fake_a, same_a = method.G_BA(torch.cat([b, a])).chunk(2)
            cycle = l1(method.G_BA(fake_b), a) + l1(method.G_AB(fake_a), b)
            identity = l1(same_b, b) + l1(same_a, a)
            adversarial = (method.D_B(fake_b).float() - 1).square().mean()
            adversarial = adversarial + (method.D_A(fake_a).float() - 1).square().mean()
            loss = adversarial + 10 * cycle + 5 * identity
            torch.autograd.backward(loss, inputs=generators)
            optimizers["generators"].step()
            discriminate(method.D_B, b, fake_b)
            optimizers["discriminator_B"].step()
            discriminate(method.D_A, a, fake_a)
            optimizers["discriminator_A"].step()
        for optimizer in optimizers.values():
            optimizer.zero_grad()

    return step


BARE = {
    "supervised": bare_supervised,
    "distill": bare_distill,
    "siamese": bare_siamese,
    "capsnet": bare_capsnet,
    "byol": bare_byol,
    "vae": bare_vae,
    "autoencoder": bare_autoencoder,
    "dbvae": bare_dbvae,
    "cyclegan": bare_cyclegan,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help=", ".join(JOBS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--more", nargs="*", default=[], help="overrides for both arms")
    parser.add_argument("--no-mallopt", action="store_true", help="malloc as it is")
    options = parser.parse_args()
    if not options.no_mallopt:
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        teacher = str(make_teacher(Path(folder))) if "distill" in options.jobs else ""
        measure(options, teacher)


def measure(options: argparse.Namespace, teacher: str) -> None:
    for job in options.jobs:
        overrides, steps, bar = JOBS[job]
        overrides = [text.replace(TEACHER, teacher) for text in (*overrides, *options.more)]
        batch = check(compose_plain(overrides, None)).batch_size
        run_seconds(overrides, 5), bare_seconds(overrides, 5)  # imports and caches
        runs, bares = [], []
        for number in range(options.rounds):
            arms = [(run_seconds, runs), (bare_seconds, bares)]
            for arm, times in arms if number % 2 else arms[::-1]:
                times.append(arm(overrides, steps))
        ratio = statistics.median(bare / run for run, bare in zip(runs, bares, strict=True))
        images = steps * batch
        print(
            f"{job:<13} run {images / statistics.median(runs):>8,.0f} images/s  "
            f"bare {images / statistics.median(bares):>8,.0f}  ratio {ratio:.3f}  (bar {bar})",
            flush=True,
        )


if __name__ == "__main__":
    main()
