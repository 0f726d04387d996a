"""What people install: a wheel, elsewhere, without the checkout."""

import os
import shutil
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import pytest

import dlrun

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="the tests are not run from a checkout"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that the checkout gets no build/."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("dlrun", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)]
    if _has_setuptools():  # then no network is needed
        command.insert(4, "--no-isolation")
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    return path


def _has_setuptools() -> bool:
    with open(ROOT / "pyproject.toml", "rb") as file:
        (wanted,) = tomllib.load(file)["build-system"]["requires"]
    try:
        import setuptools
    except ImportError:
        return False
    return int(setuptools.__version__.split(".")[0]) >= int(wanted.partition(">=")[2])


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel installed beside the libraries of this environment."""
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command = [*pip, "--no-index", "--no-deps", "--target", str(folder), str(wheel)]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    return folder


def run(site: Path, cwd: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Python with the installed dlrun in front of everything, the checkout's own included."""
    environment = {**os.environ, "PYTHONPATH": str(site), "DLRUN_DATA": str(site / "cache")}
    return subprocess.run(
        [sys.executable, "-P", *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_package_is_listed() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    there = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("dlrun/**/__init__.py")
    }
    assert listed == there | {"dlrun.conf"}
    for folder in {path.parent for path in ROOT.glob("dlrun/**/*.py")}:
        assert (folder / "__init__.py").is_file(), f"{folder} is no package"


def test_the_wheel_holds_everything(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("dlrun/**/*.py", "dlrun/py.typed", "dlrun/data/sources/fashion_mini/*")
        for path in ROOT.glob(pattern)
    }
    conf = ROOT.glob("conf/**/*.yaml")
    expected |= {f"dlrun/{path.relative_to(ROOT).as_posix()}" for path in conf}
    assert len(expected) > 100
    assert expected <= held
    foreign = {name for name in held if not name.startswith("dlrun")}
    assert foreign == set()
    assert not [name for name in held if "tests" in name or "__pycache__" in name]
    assert "dlrun/conf/__init__.py" in held


def test_the_licences_are_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        licences = [name for name in archive.namelist() if name.endswith("LICENSE")]
    assert len([name for name in licences if "dist-info" in name]) == 2


def test_the_console_script(site: Path, tmp_path: Path) -> None:
    result = run(site, tmp_path, str(site / "bin" / "dlrun"), "--version")
    assert (result.stdout, result.stderr) == (f"dlrun {dlrun.__version__}\n", "")


def test_from_the_root_folder(site: Path) -> None:
    where = run(site, Path("/"), "-c", "import dlrun; print(dlrun.__file__)")
    assert where.stdout.strip() == str(site / "dlrun" / "__init__.py")
    result = run(site, Path("/"), "-m", "dlrun", "train", "--cfg", "job", "method=byol", "seed=7")
    assert result.returncode == 0, result.stderr
    assert "seed: 7" in result.stdout.splitlines()
    assert "  name: byol" in result.stdout.splitlines()


OWN = '''
    """Everything of the user's own, in one file."""

    from dataclasses import dataclass
    from pathlib import Path

    import torch
    from torch import nn

    from dlrun.data.sources.base import DataSource, SourceConfig, Splits
    from dlrun.data.table import Table
    from dlrun.data.batches import Labelled
    from dlrun.methods.base import Method
    from dlrun.options import Count, Positive


    class Flat(nn.Module):
        kind = "flat"

        @dataclass(frozen=True)
        class Config:
            width: Count

        def __init__(self, config, image_shape, num_classes):
            super().__init__()
            channels, height, width = image_shape
            self.layer = nn.Linear(channels * height * width, config.width)
            self.feature_dim = config.width

        def forward(self, x):
            return self.layer(x.flatten(1))


    class Margin(nn.Module):
        kind = "margins"

        @dataclass(frozen=True)
        class Config:
            margin: Positive

        def __init__(self, config):
            super().__init__()
            self.margin = config.margin

        def forward(self, logits, labels):
            return nn.functional.multi_margin_loss(
                logits, labels, margin=self.margin, reduction="none"
            )


    class Stripes(DataSource):
        @dataclass(frozen=True)
        class Config(SourceConfig):
            size: Count

        def load(self, config, data_dir: Path):
            def table(count):
                labels = torch.arange(count) % 2
                images = torch.zeros(count, 1, config.size, config.size, dtype=torch.uint8)
                images[labels == 0, :, ::2] = 255
                images[labels == 1, :, :, ::2] = 255
                return Table(images, labels)

            return Splits(table(60), table(20), ("rows", "columns"))


    class Classify(Method):
        @dataclass(frozen=True)
        class Config:
            scale: Positive

        view = Labelled
        model_kind = "flat"
        loss_kind = "margins"
        key_metric = "accuracy"

        def __init__(self, config, build):
            super().__init__()
            self.scale = config.scale
            self.network = build.model()
            self.head = nn.Linear(self.network.feature_dim, build.num_classes)
            self.loss = build.loss()

        def predict(self, image):
            return self.head(self.network(image))

        def step(self, batch, update):
            loss = self.scale * self.loss(self.predict(batch.image), batch.label).mean()
            update.minimize(loss)
            return {"loss": loss}
'''
CONF = {
    "method/classify.yaml": """
        # @package _global_
        # tells stripes apart
        defaults:
          - override /model: flat
          - override /loss: own_margin
          - override /dataset: stripes
          - override /optimizer: sgd
        method:
          name: own:Classify
          scale: 2.0   # of the loss
        batch_size: 10
    """,
    "model/flat.yaml": "name: own:Flat\nwidth: 8\n",
    "loss/own_margin.yaml": "name: own:Margin\nmargin: 1.0\n",
    "dataset/stripes.yaml": (
        "name: own:Stripes\nval_fraction: 0.2\ndomains: null\npositive: null\nsize: 6\n"
    ),
}


def test_a_users_own_everything(site: Path, tmp_path: Path) -> None:
    """One .py and a .yaml for each, in a folder that had nothing in it."""
    (tmp_path / "own.py").write_text(textwrap.dedent(OWN))
    for name, text in CONF.items():
        path = tmp_path / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip())
    result = run(
        site, tmp_path, "-m", "dlrun", "train", "method=classify", "steps=3", "model.width=5",
        "hardware.threads=1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert (
        "own:Classify on own:Stripes: 48 train, 12 val, 20 test images of 1 x 6 x 6, 197 parameters"
        in result.stdout  # 36 x 5 + 5 and 5 x 2 + 2
    )
    (summary,) = tmp_path.glob("outputs/own.Stripes/own.Classify/*/summary.json")
    assert '"steps": 3' in summary.read_text()
    config = (summary.parent / "config.yaml").read_text()
    assert "name: own:Flat\n  width: 5" in config
    assert (summary.parent / "checkpoints" / "last.pt").is_file()
    listed = run(site, tmp_path, "-m", "dlrun", "train", "--help", "method=classify")
    assert "classify           tells stripes apart" in listed.stdout
    assert "method.scale=2.0                           of the loss" in listed.stdout
