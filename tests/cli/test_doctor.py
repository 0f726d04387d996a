"""What `dlrun doctor` prints of a machine."""

from pathlib import Path

import pytest
import torch

from dlrun.cli import run
from dlrun.registry import names
from dlrun.training import hardware


def test_it_names_the_hardware_its_speed_and_the_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_SECONDS": 0.01, "_SIDE": 64, "_BATCH": 4}.items():
        monkeypatch.setattr(hardware, name, value)
    (tmp_path / "image_folder").mkdir()
    (tmp_path / "image_folder" / "a.pt").write_bytes(bytes(2_000_000))
    assert run(["doctor", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"torch {torch.__version__}")
    assert any(line.startswith("device: ") for line in lines)
    for name in names("method"):
        assert any(line.startswith(f"  {name}: ") for line in lines)
    measured = 3 if hardware.native_bf16(torch.device("cpu")) else 2
    assert sum(line.endswith(("GFLOP/s", "images/s")) for line in lines) == measured
    assert "  mnist: downloaded at first use" in lines
    assert any(line.startswith("  image_folder: 1 decoded, 2.0 MB in ") for line in lines)
