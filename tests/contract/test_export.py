"""What is exported does what the original does, without dlrun, and without what only trains."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import CASES, SMALL, experiment
from torch import Tensor
from trained_runs import save_made

import dlrun
from dlrun.commands import export as command
from dlrun.errors import RunFailed, UserError
from dlrun.export import check
from dlrun.export import export as exporting
from dlrun.export.graphs import graphs, inference_state, program_at, write_program
from dlrun.files import write_json
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import Status
from dlrun.use import TrainedModel

for package in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
    pytest.importorskip(package, reason=f"{package} is missing: pip install 'dlrun[export]'")

TORCHVISION = ("method=supervised", "model=torchvision", "model.arch=resnet18", "batch_size=8")
PROGRAM = """
import sys, torch
given = torch.load("given.pt", weights_only=True)
if sys.argv[1].endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert entry.name == "image" and isinstance(entry.shape[0], str), entry
    found = torch.from_numpy(session.run(None, {"image": given.numpy()})[0])
else:
    found = torch.export.load(sys.argv[1]).module()(given)
assert not any(name.split(".")[0] == "dlrun" for name in sys.modules)
torch.save(found, "found.pt")
"""


def saved(path: Path, *overrides: str) -> TrainedModel:
    """Of a checkpoint that was copied away, with statistics as if it had been trained."""
    made = experiment(*overrides)
    torch.manual_seed(0)
    for name, tensor in made.method.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(0.1 * torch.randn(tensor.shape))
    save_made(path, made, val={"loss": 0.5})
    return dlrun.load(path, device="cpu")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images to check on; the 100 of a user take a while on a small machine."""
    monkeypatch.setattr(check, "IMAGES", 9)


@pytest.fixture
def supervised(tmp_path: Path) -> TrainedModel:
    return saved(tmp_path / "m.pt", *SMALL["supervised"])


def exported(model: TrainedModel, target: Path, *formats: str, **more: Any) -> list[str]:
    """What was said."""
    said: list[str] = []
    options = {"required": False, "data_dir": None, "say": said.append} | more
    exporting.export(model, None, target, formats, **options)
    return said


def in_a_fresh_process(folder: Path, name: str, given: Tensor, program: str = PROGRAM) -> Tensor:
    torch.save(given, folder / "given.pt")
    done = subprocess.run(
        [sys.executable, "-c", program, name], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: Tensor = torch.load(folder / "found.pt", weights_only=True)
    return found


NETWORKS = {
    "vae": (SMALL["vae"], ("embed", "reconstruct", "decode")),
    "unet generator": (CASES["cyclegan unet"], ("translate_a_to_b", "translate_b_to_a")),
    "capsnet": (SMALL["capsnet"], ("predict", "embed", "reconstruct")),
    "mobilenet": ((*TORCHVISION, "model.arch=mobilenet_v3_small"), ("predict", "embed")),
    "byol": (SMALL["byol"], ("embed",)),
    "siamese": (SMALL["siamese"], ("embed",)),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_programs_of_every_capability_against_what_the_verbs_give(
    network: str, tmp_path: Path
) -> None:
    """On test images, in one batch of 9: neither of the sizes that export itself tries."""
    overrides, names = NETWORKS[network]
    model = saved(tmp_path / "m.pt", *overrides)
    endings = {"onnx": ".onnx", "torch_export": ".pt2"}
    if network == "mobilenet":  # a minute for each kind of program
        del endings["torch_export"]
    said = exported(model, tmp_path / "e", *endings)
    programs = {f"{name}{ending}" for name in names for ending in endings.values()}
    assert {path.name for path in (tmp_path / "e").iterdir()} == {
        *programs, "card.json", "README.md",
    }  # fmt: skip
    assert len(said) == len(programs)
    assert all("on 9 images of the test split, in batches of 1 and of 7" in line for line in said)
    table = check.test_images(model, None).table
    method: Any = model.method
    wanted: dict[str, Callable[[], Tensor]] = {
        "predict": lambda: model.answers(table)["label"],
        "embed": lambda: model.embed(table),
        "reconstruct": lambda: model.reconstruct(table),
        "decode": lambda: method.decode(model.embed(table)),
        "translate_a_to_b": lambda: model.translate(table, "a_to_b"),
        "translate_b_to_a": lambda: model.translate(table, "b_to_a"),
    }
    for name in programs:
        capability = name.partition(".")[0]
        is_code = capability == "decode"
        given = model.embed(table) if is_code else table.float() / 255
        found = program_at(tmp_path / "e" / name, "code" if is_code else "image")(given)
        assert float((found - wanted[capability]()).abs().max()) <= check.TOLERANCE, name


def test_each_task_is_a_program(tmp_path: Path) -> None:
    """A column of classes, coloured by the bias, and the label."""
    options = ("bias=colour", "method.tasks=[label,colour]")
    model = saved(tmp_path / "m.pt", *SMALL["multitask"], *options)
    exported(model, tmp_path / "e", "torch_export")
    assert {path.stem for path in (tmp_path / "e").glob("*.pt2")} == {
        "predict", "predict_colour", "embed",
    }  # fmt: skip
    table = check.test_images(model, None).table
    found = program_at(tmp_path / "e" / "predict_colour.pt2", "image")(table.float() / 255)
    assert torch.allclose(found, model.answers(table)["colour"], atol=1e-5)
    readme = (tmp_path / "e" / "README.md").read_text()
    assert "returns probabilities (B, K) of its classes" in readme


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_a_program_alone_takes_raw_pixels_of_any_batch(ending: str, tmp_path: Path) -> None:
    """Normalisation included: the same as `predict` of the same bytes."""
    model = saved(tmp_path / "m.pt", *SMALL["supervised"])
    table = torch.randint(0, 256, (11, *model.image_shape), dtype=torch.uint8)
    graph = graphs(model, model.method)["predict"]
    write_program(graph, table[:2].float() / 255, tmp_path / f"p{ending}")
    found = in_a_fresh_process(tmp_path, f"p{ending}", table.float() / 255)
    assert found.shape == (11, 10)
    assert torch.allclose(found, model.answers(table)["label"], atol=1e-5)


@pytest.mark.parametrize(
    ("method", "kept", "dropped"),
    [
        ("byol", {"online.0"}, {"online.1", "predictor", "target", "probe"}),
        ("distill", {"student.encoder", "student.head"}, {"teacher"}),
        ("cyclegan", {"G_AB", "G_BA"}, {"D_A", "D_B", "pool_A", "recent_losses"}),
        ("siamese", {"encoder", "projection"}, set()),
        ("vae", {"encoder", "fc_mu", "fc_logvar", "decoder"}, set()),
    ],
)
def test_safetensors_hold_what_inference_needs(
    method: str, kept: set[str], dropped: set[str], tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    model = saved(tmp_path / "m.pt", *SMALL[method])
    exported(model, tmp_path / "e", "safetensors")
    names = set(load_file(tmp_path / "e" / "model.safetensors"))
    assert names == set(inference_state(model.method))
    assert all(any(name.startswith(f"{part}.") for name in names) for part in kept)
    assert all(any(name.startswith(f"{part}.") for part in kept) for name in names)
    whole = set(model.method.state_dict())
    assert all(any(name.startswith(part) for name in whole - names) for part in dropped)


@pytest.mark.parametrize("head", [True, False])
def test_torchvision_loads_it_by_the_lines_of_the_card(head: bool, tmp_path: Path) -> None:
    options = TORCHVISION if head else ("method=siamese", *TORCHVISION[1:])
    model = saved(tmp_path / "m.pt", *options)
    exported(model, tmp_path / "e", "torchvision")
    card = json.loads((tmp_path / "e" / "card.json").read_text())
    lines = card["files"]["backbone.pth"]["code"]
    readme = (tmp_path / "e" / "README.md").read_text()
    code = readme.partition("```python\n")[2].partition("```")[0]
    assert code.splitlines()[: len(lines)] == lines
    program = f"""{code}
x = torch.load("given.pt", weights_only=True).expand(-1, 3, -1, -1)
torch.save(m(x).detach(), "found.pt")
"""
    x = torch.randn(3, *model.image_shape)
    found = in_a_fresh_process(tmp_path / "e", "", x, program)
    method: Any = model.method
    with torch.no_grad():
        wanted = method.predict(x) if head else method.encoder(x)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_network_of_dlrun_is_a_plain_state_dict(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.pt", *SMALL["distill"])
    exported(model, tmp_path / "e", "torchvision")
    state = torch.load(tmp_path / "e" / "backbone.pth", weights_only=True)
    own = model.method.state_dict()
    assert torch.equal(state["head.weight"], own["student.head.weight"])
    assert {n for n in state if not n.startswith("head.")} == {
        name.removeprefix("student.encoder.") for name in own if name.startswith("student.encoder.")
    }


def test_the_card(supervised: TrainedModel, tmp_path: Path) -> None:
    exported(supervised, tmp_path / "e", "safetensors")
    card = json.loads((tmp_path / "e" / "card.json").read_text())
    assert card["method"] == "supervised" and card["model"]["name"] == "resnet"
    assert card["dataset"]["licence"].startswith("MIT")
    assert card["dataset"]["class_names"] == list(supervised.class_names)
    assert card["normalisation"]["shift"] == pytest.approx(list(supervised.info.mean))
    assert card["metrics"]["val"] == {"step": 3, "loss": 0.5}
    assert card["reproduce"] and torch.__version__.startswith(card["exported_with"]["torch"])
    readme = (tmp_path / "e" / "README.md").read_text()
    assert all(name in readme for name in ("fashion_mini", "MIT", "Ankle boot", "safetensors"))


def test_a_file_that_differs_is_not_left_behind(
    supervised: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(graph: Any, example: Tensor, path: Path) -> None:
        """Exports other weights than those of the run."""
        with torch.no_grad():
            next(graph.method.parameters()).mul_(1.5)
        write_program(graph, example, path)

    monkeypatch.setattr(exporting, "write_program", spoilt)
    with pytest.raises(RunFailed, match=r"predict\.pt2: differs from the original by [\d.e-]+ in"):
        exported(supervised, tmp_path / "e", "torch_export")
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt"]


def test_weights_that_are_needed_but_not_named_by_inference_are_found_out(
    supervised: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(supervised.method), "inference", ("encoder.",))
    with pytest.raises(RunFailed, match=r"model\.safetensors: differs from the original by nan"):
        exported(supervised, tmp_path / "e", "safetensors")


def test_without_the_data_the_check_is_on_noise_and_says_so(
    supervised: TrainedModel, tmp_path: Path
) -> None:
    supervised.config["dataset"] |= {"name": "cifar10", "domains": None}
    missing = tmp_path / "a file"
    missing.write_text("so nothing can be downloaded here")
    said = exported(supervised, tmp_path / "e", "safetensors", data_dir=str(missing))
    assert said[0].startswith("warning: the run's data set cannot be opened (")
    assert "NOT on real images" in said[0] and "images of NOISE" in said[1]
    assert json.loads((tmp_path / "e" / "card.json").read_text())["check"]["of"] == "noise"


def test_a_method_without_a_backbone(tmp_path: Path) -> None:
    model = saved(tmp_path / "m.pt", *SMALL["autoencoder"])
    with pytest.raises(UserError, match="--format torchvision: autoencoder has no backbone"):
        exported(model, tmp_path / "e", "torchvision", required=True)
    said = exported(model, tmp_path / "e", "torchvision", "safetensors")
    assert said[0] == "torchvision: autoencoder has no backbone, skipped"


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bare file; a second time; with --force; onto another folder; another format; no extra."""
    saved(tmp_path / "m.pt", *SMALL["supervised"])
    words = [str(tmp_path / "m.pt"), "--format", "safetensors"]
    assert command.run(words) == 0
    target = tmp_path / "m-export"
    assert f"done: {target}" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(UserError, match="exists; --force replaces it, --out names another folder"):
        command.run(words)
    (target / "old").touch()
    assert command.run([*words, "--force"]) == 0 and not (target / "old").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").touch()
    with pytest.raises(UserError, match="was not written by `dlrun export`"):
        command.run([*words, "--force", "--out", str(tmp_path / "mine")])
    assert (tmp_path / "mine" / "thesis").exists()
    with pytest.raises(UserError) as refused:
        command.run(["x", "--format", "keras"])  # the parser names them without importing torch
    assert all(name in str(refused.value) for name in exporting.FORMATS)
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs safetensors; pip install 'dlrun\[export\]'"):
        command.run([*words, "--out", str(tmp_path / "x")])
    lines: list[str] = []
    assert exporting.with_packages(("onnx", "torchvision"), False, lines.append) == ("torchvision",)
    assert lines == ["left out: onnx, which needs onnx, onnxscript, onnxruntime; pip install "
                     "'dlrun[export]'"]  # fmt: skip


@pytest.mark.parametrize("state", ["interrupted", "completed", None])
def test_a_run_that_is_not_finished_is_exported_with_a_warning(
    state: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = saved(tmp_path / "m.pt", *SMALL["supervised"])
    folder = RunFolder(tmp_path / "run")
    folder.prepare(model.config)
    (tmp_path / "m.pt").rename(folder.last)
    if state is not None:
        status = Status(state, 3, 9, 0.0, 0.0, 1, "elsewhere")  # type: ignore[arg-type]
        write_json(folder.status, asdict(status))
    assert command.run([str(folder.path), "--format", "safetensors"]) == 0
    printed = capsys.readouterr().out
    warning = {
        "completed": "", None: "run has no status.json; its last checkpoint is exported",
    }.get(state, f"run is {state} at step 3; its last checkpoint is exported")  # fmt: skip
    assert ("warning: " in printed) == bool(warning) and warning in printed
    card = json.loads((folder.path / "export" / "card.json").read_text())
    assert card["status"] == state
