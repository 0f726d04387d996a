"""What is picked on machines that differ, what is said about it, and that it is put back."""

import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from dlrun.config.schema import HardwareConfig
from dlrun.errors import UserError
from dlrun.methods.base import Method
from dlrun.training import hardware
from dlrun.training.hardware import (
    Hardware,
    compile_networks,
    data_device,
    native_bf16,
    pick,
    pick_device,
)

ASKED = HardwareConfig(
    device="auto", precision="auto", memory_format="auto", compile=False, threads="auto",
    deterministic=False, data="auto", anomaly=False, devices=1, sync_batchnorm=False,
)  # fmt: skip


class LikesChannelsLast(nn.Module):
    channels_last = True


Machine = Any


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Pretends to be another machine; by default one without a GPU and without native bf16."""

    def pretend(
        cuda: tuple[int, int] | None = None, mps: bool = False, avx512_bf16: bool = False,
        amx: bool = False, free: int = 0,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Example 100")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, free))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False
        )
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)

    pretend()
    return pretend


def test_a_processor_alone(machine: Machine) -> None:
    picked = pick(ASKED, "vae", [])
    assert (picked.device.type, picked.precision) == ("cpu", "fp32")
    assert picked.memory_format == torch.contiguous_format
    threads = torch.get_num_threads()
    assert picked.threads == threads
    said = "1 thread" if threads == 1 else f"{threads} threads"
    assert picked.line == f"CPU (no GPU found), {said}, fp32 (no native bf16)"


@pytest.mark.parametrize("probe", ["avx512_bf16", "amx"])
def test_bf16_on_a_processor_that_has_it_for_methods_that_learn_as_well(
    machine: Machine, probe: str
) -> None:
    machine(**{probe: True})
    assert native_bf16(torch.device("cpu"))
    shown, other = pick(ASKED, "byol", []), pick(ASKED, "vae", [])
    assert shown.precision == "bf16"
    assert "bf16 (native, as good as fp32: docs/results.md)" in shown.line
    assert other.precision == "fp32"
    assert "fp32 (bf16 is native, but not shown faster and as good here)" in other.line


def test_a_torch_without_the_probes_has_no_native_bf16(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(avx512_bf16=True, amx=True)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert not native_bf16(torch.device("cpu"))


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((12, 0), "bf16")],
)
def test_a_gpu_takes_bf16_where_it_is_native_and_else_scaled_fp16(
    machine: Machine, capability: tuple[int, int], precision: str
) -> None:
    machine(cuda=capability)
    picked = pick(ASKED, "vae", [])
    assert (picked.device.type, picked.precision) == ("cuda", precision)
    why = {"bf16": "native", "fp16": "no native bf16; loss scaled"}[precision]
    assert picked.line == f"GPU Example 100, {precision} ({why})"


def test_fp32_on_a_gpu_says_that_it_is_tf32_where_it_is(machine: Machine) -> None:
    asked = replace(ASKED, precision="fp32")
    machine(cuda=(9, 0))
    assert pick(asked, "vae", []).line.endswith("fp32 (as asked, products in TF32)")
    machine(cuda=(7, 5))
    assert pick(asked, "vae", []).line.endswith("fp32 (as asked)")


def test_an_apple_gpu(machine: Machine) -> None:
    machine(mps=True)
    picked = pick(ASKED, "vae", [])
    assert (picked.device.type, picked.line) == ("mps", "Apple GPU, fp32 (no native bf16)")


def test_what_is_asked_for_is_taken(machine: Machine) -> None:
    machine(cuda=(9, 0), mps=True)
    asked = replace(
        ASKED, device="cpu", precision="bf16", memory_format="channels_last", threads=3,
        deterministic=True, anomaly=True,
    )  # fmt: skip
    picked = pick(asked, "vae", [])
    assert picked == Hardware(
        device=torch.device("cpu"), precision="bf16", memory_format=torch.channels_last,
        threads=3, compile=False, deterministic=True, anomaly=True,
        line="CPU, 3 threads, bf16 (as asked), channels_last, deterministic",
    )  # fmt: skip


@pytest.mark.parametrize(("device", "words"), [("cuda", "no CUDA GPU"), ("mps", "no Apple GPU")])
def test_a_device_that_is_not_there_is_an_error(machine: Machine, device: str, words: str) -> None:
    with pytest.raises(UserError, match=f"hardware.device: got {device}, but {words} was found"):
        pick_device(device)
    with pytest.raises(UserError, match="use hardware=auto or hardware=cpu"):
        pick(replace(ASKED, device=device), "vae", [])


def test_fp16_on_the_processor_is_an_error(machine: Machine) -> None:
    with pytest.raises(UserError, match=r"hardware\.precision: got fp16 on the CPU"):
        pick(replace(ASKED, precision="fp16"), "vae", [])


def test_channels_last_where_all_networks_gain_by_it(machine: Machine) -> None:
    yes, no = LikesChannelsLast(), nn.Identity()
    for networks, expected in (([yes, yes], True), ([yes, no], False), ([], False)):
        picked = pick(ASKED, "vae", networks)
        assert (picked.memory_format == torch.channels_last) is expected
        assert ("channels_last" in picked.line) is expected
    asked = replace(ASKED, memory_format="contiguous")
    assert pick(asked, "vae", [yes]).memory_format == torch.contiguous_format


class Narrow(LikesChannelsLast):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(channels, 2 * channels, 1, stride=2)


def test_channels_last_is_not_for_narrow_networks_on_the_cpu(machine: Machine) -> None:
    """Where torch's kernel writes out of bounds."""
    for channels, expected in ((8, False), (16, True)):
        picked = pick(replace(ASKED, device="cpu"), "vae", [LikesChannelsLast(), Narrow(channels)])
        assert (picked.memory_format == torch.channels_last) is expected
    asked = replace(ASKED, device="cpu", memory_format="channels_last")
    with pytest.raises(UserError, match="channels_last, but on the CPU torch writes out of bounds"):
        pick(asked, "vae", [Narrow(4)])
    machine(cuda=(8, 0))
    assert pick(ASKED, "vae", [Narrow(4)]).memory_format == torch.channels_last


# --- compiling -----------------------------------------------------------------------------------


def test_compiling_is_tried_on_the_device_before_it_is_promised(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(mps=True)
    tried: list[str] = []

    def compiler(function: Any) -> Any:
        return lambda x: tried.append(x)

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(torch, "zeros", lambda n, device: device.type)
    picked = pick(replace(ASKED, compile=True), "vae", [])
    assert tried == ["mps"]
    assert picked.compile
    assert picked.line.endswith(", compiled")


def test_a_compiler_that_does_not_work_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(function: Any) -> Any:
        raise RuntimeError("no g++ here\nand a long traceback")

    monkeypatch.setattr(torch, "compile", broken)
    picked = pick(replace(ASKED, device="cpu", compile=True), "vae", [])
    assert not picked.compile
    assert picked.line.endswith("NOT compiled (no working compiler: no g++ here)")


def test_networks_are_compiled_in_place_and_holders_of_buffers_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Holder(nn.Module):
        pass

    class Two(Method):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.holder = nn.Linear(2, 2), Holder()

    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: compiled.append(self))
    method = Two()
    names = list(method.state_dict())
    compile_networks(method)
    assert compiled == [method.network]
    assert list(method.state_dict()) == names


# --- switches ------------------------------------------------------------------------------------


def switches() -> dict[str, object]:
    """Everything process-wide that a run may change."""
    return {
        "threads": torch.get_num_threads(),
        "benchmark": torch.backends.cudnn.benchmark,
        "matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "check_nan": torch.is_anomaly_check_nan_enabled(),
        "workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


CPU = Hardware(
    device=torch.device("cpu"), precision="fp32", memory_format=torch.contiguous_format,
    threads=1, compile=False, deterministic=False, anomaly=False, line="",
)  # fmt: skip


@pytest.fixture
def restored() -> Any:
    """Leaves the process as it was, whatever the test did to it."""
    before = switches()
    yield
    torch.use_deterministic_algorithms(
        bool(before["deterministic"]), warn_only=bool(before["warn_only"])
    )
    torch.autograd.set_detect_anomaly(bool(before["anomaly"]), bool(before["check_nan"]))
    torch.set_num_threads(int(str(before["threads"])))
    torch.backends.cudnn.benchmark = bool(before["benchmark"])
    assert switches() == before


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_applied_sets_every_switch_and_puts_each_back(others: bool, fails: bool) -> None:
    """Back to what they were, not to torch's defaults."""
    if others:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.autograd.set_detect_anomaly(True, check_nan=False)
        torch.backends.cudnn.benchmark = True
    before = switches()
    picked = replace(CPU, threads=2, deterministic=True, anomaly=True)
    try:
        with picked.applied():
            inside = switches()
            if fails:
                raise KeyError("a run that went wrong")
    except KeyError:
        pass
    assert inside["threads"] == 2
    assert inside["deterministic"] is True
    assert inside["anomaly"] is True
    assert inside["benchmark"] is False
    assert inside["workspace"] == ":4096:8"
    assert switches() == before


@pytest.mark.usefixtures("restored")
def test_a_workspace_that_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with replace(CPU, deterministic=True).applied():
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("deterministic", [False, True])
def test_on_a_gpu_the_fast_switches_are_set_for_the_run_alone(deterministic: bool) -> None:
    before = switches()
    picked = replace(CPU, device=torch.device("cuda"), deterministic=deterministic)
    with picked.applied():  # sets switches and touches no GPU
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.benchmark is not deterministic
    assert switches() == before


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", None)]
)
def test_autocast_and_loss_scaling_follow_the_precision(
    precision: str, dtype: torch.dtype | None
) -> None:
    picked = replace(CPU, precision=precision)
    a = torch.ones(2, 2)
    with picked.autocast():
        assert (a @ a).dtype == (dtype or torch.float32)
        with picked.autocast():
            assert (a @ a).dtype == (dtype or torch.float32)
    assert picked.scaler().is_enabled() is (precision == "fp16")


# --- where the images lie ------------------------------------------------------------------------


def test_data_lie_on_the_gpu_while_they_fit_three_times(machine: Machine) -> None:
    cuda, cpu, size = torch.device("cuda"), torch.device("cpu"), 1000
    for free, expected in ((3000, cuda), (2999, cpu)):
        machine(cuda=(9, 0), free=free)
        assert data_device("auto", cuda, size) == expected
        assert data_device("device", cuda, size) == cuda
        assert data_device("host", cuda, size) == cpu
    for asked in ("auto", "device", "host"):
        assert data_device(asked, cpu, size) == cpu
    assert data_device("auto", torch.device("mps"), size) == torch.device("mps")


def test_the_names_of_the_probes_are_still_there() -> None:
    """They are private in torch: this tells when it renames them, after which bf16 goes unused."""
    assert hasattr(torch.cpu, "_is_avx512_bf16_supported") or hasattr(
        torch.cpu, "_is_amx_tile_supported"
    )
    assert hardware.native_bf16(torch.device("cpu")) in (True, False)
