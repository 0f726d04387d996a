"""What every method owes the loop, over models, losses and precisions."""

import ast
import io
from collections import Counter
from pathlib import Path

import pytest
import torch
from harness import BYOL, CASES, SMALL, experiment, snapshot, step_on, take_step, trained_names
from torch import Tensor, nn
from torch.nn import functional as F

import dlrun.methods
from dlrun.config.schema import _kinds
from dlrun.data.batches import EvalBatch, Grouped, TwoViews
from dlrun.errors import UserError
from dlrun.methods import abilities, hooks
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


def frozen_networks(method: Method) -> dict[str, nn.Module]:
    return {name: m for name, m in method.named_modules() if getattr(m, "frozen", False)}


@pytest.mark.parametrize("case", CASES)
def test_what_is_frozen_stays_in_eval_mode_and_none_of_it_moves(case: str) -> None:
    """Parameters and statistics of batch norm, in front of training and behind an evaluation."""
    made = of(case)
    frozen = frozen_networks(made.method)
    expected = {"supervised frozen": {"encoder"}}
    if case.startswith("distill"):
        expected = {case: {"teacher"}}
    assert set(frozen) == expected.get(case, set())
    before = snapshot(made.method)
    for step in range(2):
        take_step(made, step)
        made.method.eval().train()
        assert made.method.training
        for name, network in frozen.items():
            assert not any(module.training for module in network.modules()), name
    kept = {name for name in before if name.startswith(tuple(f"{name}." for name in frozen))}
    state = made.method.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in kept)
    assert not kept & trained_names(made.method)
    assert bool(kept) == bool(frozen)
    moved = {name for name in before if not torch.equal(state[name], before[name])}
    assert moved


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


ADAM = ("optimizer=adam", "optimizer.lr=0.01")
LEARNS: list[tuple[str, tuple[str, ...], int, str, float]] = [
    ("supervised", ADAM, 40, "loss", 0.05),
    ("supervised squared", ADAM, 40, "loss", 0.15),
    ("byol", ADAM, 30, "loss", 0.3),
    ("vae", ("model.hidden=128", "method.beta=0.1", "optimizer.lr=0.005"), 120,
     "reconstruction", 0.4),
    ("cyclegan", ("optimizer.lr=0.005", "method.identity=0"), 30, "cycle", 0.45),
    ("distill", (*ADAM, "loss.ce_weight=1", "loss.kd_weight=0.1"), 40, "hard", 0.1),
    ("distill", (*ADAM, "loss.ce_weight=0"), 40, "soft", 0.05),
    ("distill cosine", (*ADAM, "loss.ce_weight=0"), 40, "soft", 0.05),
    ("distill hint", (*ADAM, "loss.ce_weight=0"), 40, "soft", 0.4),
    ("distill attention", (*ADAM, "loss.ce_weight=0"), 40, "soft", 0.2),
    ("siamese", ADAM, 30, "loss", 0.2),
    ("siamese hard contrastive", ADAM, 30, "loss", 0.05),
    ("siamese views", ADAM, 30, "loss", 0.1),
    ("dbvae", ("optimizer.lr=0.01",), 40, "classification", 0.05),
    ("capsnet", ("optimizer.lr=0.01",), 40, "margin", 0.05),
    ("capsnet", ("optimizer.lr=0.01",), 40, "reconstruction", 0.2),
]  # fmt: skip
"""A case, its overrides, steps, the metric that is to fall, and to which part of its start."""


@pytest.mark.parametrize(
    ("precision", "case", "more", "steps", "metric", "part"),
    [*(("fp32", *row) for row in LEARNS), *(("bf16", *row) for row in LEARNS if row[0] in SMALL)],
)
def test_it_learns_one_batch(
    precision: str, case: str, more: tuple[str, ...], steps: int, metric: str, part: float
) -> None:
    """The same images over and over: the loss falls to a part of what it was.

    A VAE's cannot fall to nothing: grey values have an entropy of their own, which is taken off.
    Of distillation the two parts are looked at, each by itself: the teacher has learnt nothing, and
    what it says is not what is right.
    """
    made = of(case, precision, *more, f"steps={steps}", "schedule=constant")
    torch.manual_seed(0)
    batch = made.batches.draw(0)
    floor = 0.0
    if case == "vae":
        grey = batch.image.flatten(1)
        floor = F.binary_cross_entropy(grey, grey, reduction="none").sum(1).mean().item()
    values = []
    for step in range(steps):
        torch.manual_seed(step)
        values.append(step_on(made, batch, step)[metric].item())
    assert values[-1] - floor < part * (values[0] - floor)


BATCH_NORM = ["supervised mlp", *(case for case in CASES if case.startswith("byol"))]
"""Over vectors, where one image has no variance; over the maps of a ResNet it has one."""
NEGATIVES = {
    "siamese": 8, "siamese hard contrastive": 8, "siamese views": 2, "dbvae": 2, "dbvae unsure": 2,
}  # fmt: skip
"""Of two groups of four, of two images, or of one that is positive and one that is not."""


@pytest.mark.parametrize(
    ("case", "more"),
    [
        *((case, ()) for case in BATCH_NORM),
        ("distill", ("model=mlp",)),
        ("distill", ("loss=hint",)),  # the regressor of features
        ("siamese views", ("model=mlp",)),
    ],
)
def test_a_batch_of_one_under_batch_norm_is_told_before_the_first_step(
    case: str, more: tuple[str, ...]
) -> None:
    overrides = tuple(text for text in CASES[case] if more != ("model=mlp",) or "width" not in text)
    with pytest.raises(UserError, match=r"batch_size: got 1.*batch norm.*expected an integer >= 2"):
        experiment(*overrides, *more, "steps=20", "batch_size=1")
    made = experiment(*overrides, *more, "steps=20", "batch_size=2")
    assert all(value.isfinite() for value in take_step(made, 0).values())


@pytest.mark.parametrize(("case", "least"), NEGATIVES.items())
def test_a_batch_without_negatives_is_told(case: str, least: int) -> None:
    made = of(case, "fp32", f"batch_size={least - 1}")
    with pytest.raises(
        UserError, match=rf"batch_size: got {least - 1}, but.*expected an integer >= {least}"
    ):
        take_step(made, 0)
    made = of(case, "fp32", f"batch_size={least}")
    assert all(value.isfinite() for value in take_step(made, 0).values())


@pytest.mark.parametrize("case", [case for case in CASES if case not in {*BATCH_NORM, *NEGATIVES}])
def test_a_batch_of_one_is_enough_elsewhere(case: str) -> None:
    made = of(case, "fp32", "batch_size=1")
    assert all(value.isfinite() for value in take_step(made, 0).values())


# --- abilities and hooks -------------------------------------------------------------------------

EXPECTED = {
    "supervised": {"Predicts", "Embeds", "Validates"},
    "multitask": {"Predicts", "PredictsTasks", "Embeds", "Validates", "Totals"},
    "distill": {"Predicts", "Embeds", "Validates", "HasTeacher"},
    "byol": {"Embeds", "Validates", "HasProjection", "Warns"},
    "siamese": {"Embeds"},
    "siamese views": {"Embeds"},
    "capsnet": {"Predicts", "Embeds", "Validates", "Reconstructs"},
    "capsnet without decoder": {"Predicts", "Embeds", "Validates"},
    "autoencoder": {"Embeds", "Reconstructs", "Decodes"},
    "vae": {
        "Embeds", "Validates", "Reconstructs", "Samples", "Decodes", "HasPosterior",
        "HasLikelihood", "Warns",
    },
    "dbvae": {
        "Predicts", "Embeds", "Validates", "Reconstructs", "Samples", "Decodes", "HasPosterior",
        "Warns", "BeforeEpoch", "HasSamplingWeights", "LearnsSome",
    },
    "cyclegan": {"Translates", "Validates", "Warns"},
}  # fmt: skip


def test_of_every_method_is_known_what_it_can_do() -> None:
    assert set(SMALL) <= set(EXPECTED) <= set(CASES)


@pytest.mark.parametrize("name", EXPECTED)
@both_precisions
def test_abilities_do_what_their_protocol_says(name: str, precision: str) -> None:
    made = of(name, precision)
    take_step(made, 0)  # so that a student is no more what its teacher is
    method = made.method.eval()
    protocols = {
        key: value
        for module in (abilities, hooks)
        for key, value in vars(module).items()
        if getattr(value, "_is_runtime_protocol", False) and value.__module__ == module.__name__
    }
    found = {key for key, protocol in protocols.items() if isinstance(method, protocol)}
    assert found == EXPECTED[name]
    image = made.scale.from_bytes(made.data.val.images[:5])
    label = made.data.val.labels[:5]
    with torch.inference_mode(), made.hardware.autocast():
        if "Predicts" in found:
            assert method.classifies
            assert method.predict(image).shape == (5, 10)
        if "PredictsTasks" in found:
            answers = method.predict_tasks(image)
            assert [(task.name, task.classes) for task in method.tasks] == [("label", 10)]
            assert set(answers) == {"label"} and answers["label"].shape == (5, 10)
            assert answers["label"].float().sum(1).tolist() == pytest.approx([1] * 5, abs=1e-2)
        if "HasTeacher" in found:
            assert method.teach(image).shape == (5, 10)
            assert not torch.equal(method.teach(image), method.predict(image))
            assert method.student(image).shape == method.teacher(image).shape == (5, 10)
            assert method.source.parts
        for capability, function in (("Embeds", "embed"), ("HasProjection", "project")):
            if capability in found:
                features = getattr(method, function)(image)
                assert features.shape[0] == 5
                assert features.ndim == 2
        if "Validates" in found:
            for values in method.validate(EvalBatch(image, label)).values():
                assert values.ndim == 1
                assert 1 <= len(values) <= 5  # fewer where it is not known of every image
                assert values.dtype == torch.float32
        pictures = []
        if "Reconstructs" in found:
            pictures.append(method.reconstruct(image))
        if "Samples" in found:
            pictures.append(method.sample(5))
        if "Decodes" in found:
            assert method.embed(image).shape == (5, method.code_dim)
            pictures.append(method.decode(torch.randn(5, method.code_dim)))
        if "HasPosterior" in found:
            assert [part.shape for part in method.posterior(image)] == [(5, method.code_dim)] * 2
        if "HasLikelihood" in found:
            assert method.log_weights(image, 2).shape == (2, 5)
            assert method.log_weights(image, 2).dtype == torch.float64
        if "HasSamplingWeights" in found:
            assert method.weights.shape == (len(made.data.train),)
            assert method.weights.sum().item() == pytest.approx(1)
        if "Translates" in found:
            pictures += [method.translate(image, way) for way in ("a_to_b", "b_to_a")]
    for picture in pictures:
        assert picture.shape == (5, 1, 28, 28)
        assert picture.dtype == torch.float32
        assert picture.min() >= 0
        assert picture.max() <= 1


@pytest.mark.parametrize("case", CASES)
def test_what_a_class_says_of_itself_fits_what_its_config_chooses(case: str) -> None:
    made = of(case)
    cls, config = type(made.method), made.config
    assert cls.model_kind in _kinds(lookup("model", config.model.name))
    assert cls.loss_kind in _kinds(lookup("loss", config.loss.name))
    assert isinstance(config.method, Choice)
    assert isinstance(config.method.options, cls.Config)
    assert made.batches.kind is made.method.view_for(config.method.options)
    expected = {"siamese views": TwoViews, "siamese": Grouped}.get(case)
    assert expected in (None, made.batches.kind)
    assert made.method.view_for(config.method.options) is cls.view or case == "siamese views"
    assert set(made.method.optimizers()) <= set(made.method.parameter_groups())


@every_method
def test_what_others_may_take_over_is_part_of_the_state(name: str) -> None:
    method = experiment(*SMALL[name]).method
    assert set(method.parts) <= {"backbone", "head"}
    state = method.state_dict()
    taken = [{key for key in state if key.startswith(part)} for part in method.parts.values()]
    assert all(taken)
    assert sum(map(len, taken)) == len(set().union(*taken))


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
