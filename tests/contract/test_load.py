"""Every method comes back from its checkpoint alone, and does what it did; nothing else changes."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import CASES, SMALL
from PIL import Image
from torch import Tensor
from trained_runs import saved

import dlrun
from dlrun import cli
from dlrun.errors import UserError
from dlrun.training import checkpoint

CAN = {
    "supervised": ("predict", "embed"),
    "multitask": ("predict", "embed"),
    "distill": ("predict", "embed"),
    "byol": ("embed",),
    "siamese": ("embed",),
    "capsnet": ("predict", "embed", "reconstruct"),
    "autoencoder": ("embed", "reconstruct", "interpolate", "traverse"),
    "vae": ("embed", "reconstruct", "sample", "interpolate", "traverse"),
    "dbvae": ("predict", "embed", "reconstruct", "sample", "interpolate", "traverse"),
    "cyclegan": ("translate",),
}
DISTILLED = ("distill hint", "distill attention", "distill remembered", "supervised transfer")


@pytest.mark.parametrize("case", [*SMALL, *DISTILLED])
def test_a_copied_file_is_enough_and_gives_what_the_method_gave(case: str, tmp_path: Path) -> None:
    file = tmp_path / "copied.pt"
    made, _ = saved(file, *CASES[case])
    model = dlrun.load(file, device="cpu")
    assert model.capabilities == CAN[case.split()[0]]
    table = made.data.val.images[:3]
    made.method.eval()
    x = made.scale.from_bytes(table).contiguous(memory_format=made.hardware.memory_format)
    images: list[Any] = list(table)

    def same(given: Tensor, function: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            wanted = function(x).float()
        assert given.shape == wanted.shape
        assert torch.allclose(given, wanted, atol=1e-6)

    if "predict" in model.capabilities:
        predictions = model.predict(images)
        given = torch.stack([p.probabilities for p in predictions])
        same(given, lambda x: made.method.probabilities(made.method.predict(x)))
        assert predictions[0].label == made.data.class_names[given[0].argmax()]
    if "embed" in model.capabilities:
        same(model.embed(images), made.method.embed)
        assert torch.equal(model.embed(table), model.embed(images))  # a batch in one tensor
        assert torch.equal(model.embed(table.float() / 255), model.embed(images))
    if "reconstruct" in model.capabilities:
        same(model.reconstruct(images), made.method.reconstruct)
    if "translate" in model.capabilities:
        same(model.translate(images, "b_to_a"), lambda x: made.method.translate(x, "b_to_a"))
        to_a = model.translate(images, made.data.class_names[made.data.domains[0]])
        assert torch.equal(to_a, model.translate(images, "b_to_a"))


def test_a_vae_walks_between_images_and_samples_by_its_seed(tmp_path: Path) -> None:
    made, _ = saved(tmp_path / "vae.pt", *SMALL["vae"])
    model = dlrun.load(tmp_path / "vae.pt", device="cpu")
    a, b = made.data.val.images[:2]
    line = model.interpolate(a, b, steps=4)
    ends = model.reconstruct([a, b])
    assert torch.allclose(line[[0, -1]], ends, atol=1e-5)
    walked = model.traverse(a, dims=[3, 0], steps=5)
    assert walked.shape == (2, 5, *model.image_shape)
    assert torch.allclose(walked[:, 2], ends[:1].expand(2, -1, -1, -1), atol=1e-5)
    with pytest.raises(UserError, match="dims: got 999, expected 0 to"):
        model.traverse(a, dims=[999])
    assert torch.equal(model.sample(5, seed=3), model.sample(5, seed=3))
    assert not torch.equal(model.sample(5, seed=3), model.sample(5, seed=4))
    assert model.sample(300).shape == (300, *model.image_shape)  # more than a batch


def test_an_autoencoder_has_no_prior_to_walk_in(tmp_path: Path) -> None:
    made, _ = saved(tmp_path / "ae.pt", *SMALL["autoencoder"])
    model = dlrun.load(tmp_path / "ae.pt", device="cpu")
    with pytest.raises(UserError, match=r"has no prior; give codes="):
        model.traverse()
    codes = model.embed(made.data.val.images[:20])
    assert model.traverse(codes=codes, steps=3).shape[1] == 3
    with pytest.raises(UserError, match=r"cannot sample; it can embed, reco.*can sample: vae"):
        model.sample(3)


def test_loading_and_using_change_nothing_else(tmp_path: Path) -> None:
    saved(tmp_path / "vae.pt", *SMALL["vae"])
    script = """
import sys, dlrun
assert "torch" not in sys.modules
import torch
def state():
    return (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(), torch.initial_seed(), 
            torch.are_deterministic_algorithms_enabled(), tuple(sys.path))
before, random = state(), torch.get_rng_state()
from dlrun import load
model = load(sys.argv[1], device="cpu")
model.sample(3, seed=1); model.embed(torch.zeros(1, 28, 28)); model.traverse(dims=[0])
assert state() == before and torch.equal(random, torch.get_rng_state())
assert not [name for name in sys.modules if name.split(".")[0] in ("hydra", "tensorboard")]
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "vae.pt")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_attributes_come_back_too(tmp_path: Path) -> None:
    made, content = saved(tmp_path / "s.pt", *SMALL["multitask"])
    content["data"]["attributes"] = {"gender": {"classes": 2, "mean": 0.4, "std": 0.5}}
    content["config"]["method"]["tasks"] = ["label", "gender"]
    head = {
        "heads.of_gender.weight": torch.ones(2, made.method.encoder.feature_dim),
        "heads.of_gender.bias": torch.zeros(2),
    }
    content["method"] = {**content["method"], **head}
    checkpoint.save(tmp_path / "two.pt", content)
    model = dlrun.load(tmp_path / "two.pt", device="cpu")
    assert model.info.attributes["gender"].classes == 2


@pytest.mark.parametrize("place", ["method", "model", "loss"])
def test_a_bare_file_may_not_name_code(place: str, tmp_path: Path) -> None:
    _, content = saved(tmp_path / "s.pt", *SMALL["supervised"])
    content["config"][place]["name"] = "os_does_damage:Class"
    checkpoint.save(tmp_path / "code.pt", content)
    with pytest.raises(UserError, match="os_does_damage:Class: a file may not name code to run"):
        dlrun.load(tmp_path / "code.pt")


ARGUMENTS = {"predict": ("a.png",), "export": ("--format", "safetensors")}
EVIL = """\
from pathlib import Path
from dlrun.data.sources.fashion_mini import FashionMini

Path("code_ran").touch()


class Evil(FashionMini):
    pass
"""


@pytest.mark.parametrize("verb", ["evaluate", "traverse", "export", "predict", "embed"])
def test_no_verb_runs_code_that_a_file_names(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not as its data set, or one inside of it, which a verb may open."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_code.py").write_text(EVIL)
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    _, content = saved(tmp_path / "s.pt", *SMALL["vae" if verb != "predict" else "supervised"])
    plain = content["config"]["dataset"]
    content["config"]["dataset"] = {**plain, "name": "evil_code:Evil"}
    checkpoint.save(tmp_path / "evil.pt", content)
    with suppress(SystemExit, UserError):
        cli.run([verb, "evil.pt", *ARGUMENTS.get(verb, ())])
    assert not (tmp_path / "code_ran").exists()
    assert "evil_code" not in sys.modules


def test_files_and_names_that_cannot_be_loaded(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "plain.pt")
    with pytest.raises(UserError, match=r"plain.pt: not a checkpoint of dlrun"):
        dlrun.load(tmp_path / "plain.pt")
    with pytest.raises(UserError, match="nothing: no run of that name"):
        dlrun.load("nothing", outputs=tmp_path)
    with pytest.raises(UserError, match="which: got 'worst', expected best or last"):
        dlrun.load("nothing", "worst")  # type: ignore[arg-type]
