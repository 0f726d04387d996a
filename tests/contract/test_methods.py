"""What every method owes the loop, over models, losses and precisions."""

import ast
import io
from collections import Counter
from pathlib import Path

import pytest
import torch
from harness import BYOL, CASES, SMALL, experiment, snapshot, step_on, take_step, trained_names
from torch import Tensor
from torch.nn import functional as F

import dlrun.methods
from dlrun.errors import UserError
from dlrun.methods import capabilities
from dlrun.methods.base import Method
from dlrun.options import Choice
from dlrun.registry import lookup, names
from dlrun.training.assemble import Experiment

every_method = pytest.mark.parametrize("name", SMALL)
both_precisions = pytest.mark.parametrize("precision", ["fp32", "bf16"])
every_case = pytest.mark.parametrize(
    ("case", "precision"),
    [*((case, "fp32") for case in CASES), *((name, "bf16") for name in SMALL)],
)


def of(case: str, precision: str = "fp32", *more: str) -> Experiment:
    return experiment(*CASES[case], f"hardware.precision={precision}", "steps=20", *more)


def test_every_method_of_the_registry_is_here() -> None:
    assert set(SMALL) == set(names("method"))


# --- one step ------------------------------------------------------------------------------------


@every_case
def test_a_step_gives_finite_numbers_as_tensors_on_the_device(case: str, precision: str) -> None:
    made = of(case, precision)
    first, second = take_step(made, 0), take_step(made, 1)
    assert first.keys() == second.keys()
    for value in (*first.values(), *second.values()):
        assert isinstance(value, Tensor)
        assert value.ndim == 0
        assert value.dtype == torch.float32
        assert value.isfinite()


@every_case
def test_gradients_reach_what_an_optimizer_holds_once_and_nothing_else(
    case: str, precision: str
) -> None:
    made = of(case, precision)
    method, reached = made.method, Counter[str]()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(
                lambda _, name=name: reached.update([name])  # type: ignore[misc]
            )
    before = snapshot(method)
    take_step(made, 0)
    trained = trained_names(method)
    assert reached == Counter(trained)  # once: no other loss has added to it
    assert all(p.grad is None for p in method.parameters())
    moved = {n for n, p in method.named_parameters() if not torch.equal(p, before[n])}
    if not case.startswith("byol"):
        assert moved <= trained
    assert len(moved & trained) > 0.8 * len(trained)


@every_method
def test_each_parameter_has_one_optimizer_at_most(name: str) -> None:
    method = experiment(*SMALL[name]).method
    groups = {key: list(group) for key, group in method.parameter_groups().items()}
    count = Counter(id(p) for group in groups.values() for p in group)
    assert set(count.values()) == {1}
    trainable = {id(p) for p in method.parameters() if p.requires_grad}
    assert set(count) == trainable


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("byol")])
def test_byols_target_follows_and_is_touched_by_no_gradient(case: str) -> None:
    made = of(case)
    method = made.method
    target = dict(method.target.named_parameters())
    assert target
    assert not any(p.requires_grad for p in target.values())
    held = {id(p) for group in method.parameter_groups().values() for p in group}
    assert not held & {id(p) for p in target.values()}
    before = {name: p.clone() for name, p in target.items()}
    seen: list[bool] = []
    after_update = method.after_update

    def watched(update: object) -> None:
        seen.append(all(torch.equal(p, before[n]) for n, p in target.items()))
        after_update(update)  # type: ignore[arg-type]

    method.after_update = watched  # type: ignore[method-assign]
    take_step(made, 0)
    assert seen == [True]  # the step itself leaves it alone, and there is one update a step
    assert any(not torch.equal(p, before[n]) for n, p in target.items())
    assert all(p.grad is None for p in target.values())


def test_byols_target_follows_once_an_optimizer_step_and_not_once_a_batch() -> None:
    made = experiment(*BYOL, "accumulate=3", "steps=5")
    calls: list[int] = []
    after_update = made.method.after_update
    made.method.after_update = lambda update: calls.append(update.step) or after_update(update)  # type: ignore
    for step in range(3):
        take_step(made, step)
    assert calls == [0, 1, 2]


# --- state ---------------------------------------------------------------------------------------


@every_case
def test_the_state_dict_is_all_there_is(case: str, precision: str) -> None:
    """Through a file into a fresh instance: the next steps are the same bit for bit."""
    made = of(case, precision)
    for step in range(3):
        take_step(made, step)
    file = io.BytesIO()
    torch.save({"method": made.method.state_dict(), **made.update.state_dict()}, file)
    file.seek(0)
    content = torch.load(file, weights_only=True)
    fresh = of(case, precision)
    with torch.no_grad():
        for p in fresh.method.parameters():
            p.fill_(float("nan"))  # whatever is not restored shows
    fresh.method.load_state_dict(content["method"])
    fresh.update.load_state_dict(content)
    for step in range(3, 5):
        expected, got = take_step(made, step), take_step(fresh, step)
        assert {n: v.item() for n, v in got.items()} == {n: v.item() for n, v in expected.items()}
    left, right = made.method.state_dict(), fresh.method.state_dict()
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name


@every_method
def test_nothing_but_parameters_buffers_modules_and_options_is_kept(name: str) -> None:
    """A tensor or a list of them as a plain attribute would be missing from a checkpoint."""
    made = experiment(*SMALL[name], "steps=20")
    before = _attributes(made.method)
    for step in range(2):
        take_step(made, step)
    assert _attributes(made.method) == before


def _attributes(method: Method) -> dict[str, str]:
    found = {}
    for path, module in method.named_modules():
        for key, value in vars(module).items():
            if not key.startswith("_"):
                assert not isinstance(value, Tensor)
                found[f"{path}.{key}"] = repr(value)
    return found


@every_method
def test_a_run_is_a_function_of_its_seed(name: str) -> None:
    losses = []
    for seed in (0, 0, 1):
        made = experiment(*SMALL[name], f"seed={seed}", "steps=20")
        losses.append([list(take_step(made, step).values()) for step in range(2)])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


# --- learning ------------------------------------------------------------------------------------


def test_accumulated_halves_are_the_whole_batch() -> None:
    """Without batch norm, which alone sees the batch's size."""
    common = (
        "method=supervised", "model=mlp", "model.batch_norm=false", "augment=none", "steps=6",
    )  # fmt: skip
    whole = experiment(*common, "batch_size=32")
    halves = experiment(*common, "batch_size=16", "accumulate=2")
    assert (whole.total_steps, whole.steps_per_epoch) == (halves.total_steps, 112)
    start = snapshot(whole.method)
    for step in range(3):
        loss, last = take_step(whole, step)["loss"], take_step(halves, step)["loss"]
        assert loss != last  # that of the second half
    for name, value in whole.method.state_dict().items():
        torch.testing.assert_close(halves.method.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, start[name])


@pytest.mark.parametrize(
    ("case", "more", "steps", "metric", "share"),
    [
        ("supervised", ("optimizer=adam", "optimizer.lr=0.01"), 40, "loss", 0.05),
        ("byol", ("optimizer=adam", "optimizer.lr=0.01"), 30, "loss", 0.3),
        (
            "vae",
            ("model.hidden=128", "method.beta=0.1", "optimizer.lr=0.005"),
            120,
            "reconstruction",
            0.4,
        ),
        ("cyclegan", ("optimizer.lr=0.005", "method.identity=0"), 30, "cycle", 0.45),
    ],
)
@both_precisions
def test_it_learns_one_batch(
    case: str, more: tuple[str, ...], steps: int, metric: str, share: float, precision: str
) -> None:
    """The same images over and over: the loss falls to a share of what it was.

    A VAE's cannot fall to nothing: grey values have an entropy of their own, which is taken off.
    """
    made = of(case, precision, *more, f"steps={steps}", "schedule=constant")
    torch.manual_seed(0)
    batch = made.source.batch(0)
    floor = 0.0
    if case == "vae":
        grey = batch.image.flatten(1)
        floor = F.binary_cross_entropy(grey, grey, reduction="none").sum(1).mean().item()
    values = []
    for step in range(steps):
        torch.manual_seed(step)
        values.append(step_on(made, batch, step)[metric].item())
    assert values[-1] - floor < share * (values[0] - floor)


@pytest.mark.parametrize("case", ["byol", "supervised mlp"])
def test_a_batch_of_one_under_batch_norm_is_told_before_the_first_step(case: str) -> None:
    with pytest.raises(UserError, match=r"batch_size: got 1.*batch norm.*expected an integer >= 2"):
        of(case, "fp32", "batch_size=1")
    made = of(case, "fp32", "batch_size=2")
    assert take_step(made, 0)["loss"].isfinite()


@pytest.mark.parametrize("case", ["vae", "cyclegan", "supervised"])
def test_a_batch_of_one_is_enough_elsewhere(case: str) -> None:
    made = of(case, "fp32", "batch_size=1")
    assert all(value.isfinite() for value in take_step(made, 0).values())


# --- capabilities --------------------------------------------------------------------------------

EXPECTED = {
    "supervised": {"Predicts", "Embeds", "Validates"},
    "byol": {"Embeds"},
    "vae": {"Embeds", "Validates", "Reconstructs", "Samples"},
    "cyclegan": {"Translates"},
}


@every_method
@both_precisions
def test_capabilities_do_what_their_protocol_says(name: str, precision: str) -> None:
    made = experiment(*SMALL[name], f"hardware.precision={precision}")
    method = made.method.eval()
    protocols = {
        key: value
        for key, value in vars(capabilities).items()
        if getattr(value, "_is_protocol", False) and value.__module__ == capabilities.__name__
    }
    found = {key for key, protocol in protocols.items() if isinstance(method, protocol)}
    assert found == EXPECTED[name]
    image = made.scale.from_bytes(made.data.val.images[:5])
    label = made.data.val.labels[:5]
    with torch.inference_mode(), made.hardware.autocast():
        if "Predicts" in found:
            assert method.predict(image).shape == (5, 10)
        if "Embeds" in found:
            features = method.embed(image)
            assert features.shape[0] == 5
            assert features.ndim == 2
        if "Validates" in found:
            for values in method.validate(image, label).values():
                assert values.shape == (5,)
                assert values.dtype == torch.float32
        pictures = []
        if "Reconstructs" in found:
            pictures.append(method.reconstruct(image))
        if "Samples" in found:
            pictures.append(method.sample(5))
        if "Translates" in found:
            pictures += [method.translate(image, way) for way in ("a_to_b", "b_to_a")]
    for picture in pictures:
        assert picture.shape == (5, 1, 28, 28)
        assert picture.dtype == torch.float32
        assert picture.min() >= 0
        assert picture.max() <= 1


@every_method
def test_what_a_class_says_of_itself_fits_what_its_config_chooses(name: str) -> None:
    made = experiment(*SMALL[name])
    cls, config = type(made.method), made.config
    assert lookup("model", config.model.name).kind == cls.model_kind
    assert lookup("loss", config.loss.name).kind == cls.loss_kind
    assert isinstance(config.method, Choice)
    assert isinstance(config.method.options, cls.Config)
    assert made.source.kind is cls.view


def test_a_method_without_a_step_says_so() -> None:
    with pytest.raises(TypeError, match=r"Method has no step\(\)"):
        Method().step(None, None)  # type: ignore[arg-type]


# --- what a method may not do --------------------------------------------------------------------

FORBIDDEN_CALLS = {
    "print", "item", "tolist", "numpy", "cuda", "cpu", "to", "backward", "synchronize",
}  # fmt: skip
FORBIDDEN_IMPORTS = (
    "logging", "os", "sys", "hydra", "omegaconf", "rich", "dlrun.training", "dlrun.runs",
    "dlrun.config", "dlrun.evaluation",
)  # fmt: skip
FILES = sorted(Path(dlrun.methods.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_device_logger_or_synchronisation_in_a_method(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            assert name not in FORBIDDEN_CALLS, f"{file.name}:{node.lineno}: {name}()"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                wrong = module.startswith(FORBIDDEN_IMPORTS)
                assert not wrong, f"{file.name}:{node.lineno}: imports {module}"


def test_the_source_check_reads_every_method() -> None:
    assert {f"{name}.py" for name in SMALL} <= {file.name for file in FILES}
