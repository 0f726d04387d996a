"""What people install: a wheel, elsewhere, without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from guide import examples

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


def test_a_users_own_everything(site: Path, tmp_path: Path) -> None:
    """The guide's examples, in a folder that had nothing in it."""
    for name, text in examples().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    own = ("method=rotation", "dataset=stripes")
    result = run(
        site, tmp_path, "-m", "dlrun", "train", *own, "model=resnet8", "model.width=4", "steps=2",
        "hardware.threads=1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("rotation:Rotation on stripes:Stripes: ")
    (summary,) = tmp_path.glob("outputs/stripes.Stripes/rotation.Rotation/*/summary.json")
    assert '"steps": 2' in summary.read_text()
    assert (summary.parent / "checkpoints" / "last.pt").is_file()
    listed = run(site, tmp_path, "-m", "dlrun", "train", "--help", *own).stdout
    assert re.search(r"^ +\* rotation +\w", listed, re.MULTILINE)
    assert re.search(r"^  method.weight=\S+ +\w", listed, re.MULTILINE)
