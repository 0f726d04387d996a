"""What the machine has, what a run uses of it, and why, in one line."""

import ctypes
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dlrun.config.schema import HardwareConfig
from dlrun.errors import UserError
from dlrun.methods.base import Method

# Methods for which bf16 on the CPU is faster and as good as fp32: docs/results.md, "bf16".
_CPU_BF16 = {"supervised", "multitask", "distill", "byol", "siamese", "capsnet", "cyclegan"}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_NARROW = 16  # input channels; the kernels' own blocks are of 16
_SECONDS = 1.0  # of each of the three measurements
_SIDE, _BATCH = 1024, 128  # of the measured matrices; images of the measured step
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_NEVER = 2**31 - 1  # bytes at the end of the heap
_LARGEST = 32 * 2**20  # bytes, the most that glibc takes for the second
_TUNED_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")
_ROOM = 3  # a data set lies on the GPU where this many times its size is free


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Operations at `precision`; switched off at fp32."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def synchronize(device: torch.device) -> None:
    """Waits until the device has finished its work; a CPU has."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


@dataclass(frozen=True)
class Hardware:
    """The decisions, and `line`, which says them."""

    device: torch.device
    precision: str
    memory_format: torch.memory_format
    threads: int
    compile: bool
    deterministic: bool
    anomaly: bool
    line: str

    def autocast(self) -> torch.autocast:
        """The precision of a step."""
        return autocast(self.device, self.precision)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, which only fp16 needs."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Sets the process-wide switches for a run and restores them afterwards.

        All but malloc's, which stay to the end of the process.
        """
        threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
        matmul = torch.get_float32_matmul_precision()
        anomaly = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
        deterministic = torch.are_deterministic_algorithms_enabled()
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        workspace = os.environ.get(_WORKSPACE)
        torch.set_num_threads(self.threads)
        torch.backends.cudnn.benchmark = self.device.type == "cuda" and not self.deterministic
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        else:
            keep_freed_memory()
        if self.deterministic:
            os.environ.setdefault(_WORKSPACE, ":4096:8")  # cuBLAS asks for it
            torch.use_deterministic_algorithms(True)
        torch.autograd.set_detect_anomaly(self.anomaly)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_float32_matmul_precision(matmul)
            torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
            torch.autograd.set_detect_anomaly(*anomaly)
            if workspace is None:
                os.environ.pop(_WORKSPACE, None)


def pick(asked: HardwareConfig, method: str, networks: list[nn.Module]) -> Hardware:
    """Decides for one method, by name, and its networks, on this machine.

    Raises:
        UserError: a device or a precision was asked for that this machine lacks.
    """
    device, device_why = pick_device(asked.device)
    precision, precision_why = pick_precision(asked.precision, device, method)
    layout = pick_layout(asked.memory_format, device, networks)
    if asked.memory_format == "channels_last" and _is_unsafe(device, networks):
        raise UserError(
            "hardware.memory_format: got channels_last, but on the CPU torch writes out of bounds "
            f"in the backward pass of a strided 1 x 1 convolution with fewer than {_NARROW} input "
            "channels, which this network has; expected auto or contiguous"
        )
    threads = torch.get_num_threads() if asked.threads == "auto" else asked.threads
    compiled, compile_why = _pick_compile(asked.compile, device)
    plural = "" if threads == 1 else "s"
    parts = [f"{device_why}, {threads} thread{plural}" if device.type == "cpu" else device_why]
    parts.append(f"{precision} ({precision_why})")
    if layout == torch.channels_last:
        parts.append("channels_last")
    if compile_why:
        parts.append(compile_why)
    if asked.deterministic:
        parts.append("deterministic")
    return Hardware(
        device=device,
        precision=precision,
        memory_format=layout,
        threads=threads,
        compile=compiled,
        deterministic=asked.deterministic,
        anomaly=asked.anomaly,
        line=", ".join(parts),
    )


def pick_layout(asked: str, device: torch.device, networks: list[nn.Module]) -> torch.memory_format:
    """How images lie in memory; of a trained run the same as in its training."""
    fits = bool(networks) and all(getattr(n, "channels_last", False) for n in networks)
    auto = asked == "auto" and fits and not _is_unsafe(device, networks)
    return torch.channels_last if auto or asked == "channels_last" else torch.contiguous_format


def _is_unsafe(device: torch.device, networks: list[nn.Module]) -> bool:
    return device.type == "cpu" and any(map(_is_narrow, networks))


def _is_narrow(network: nn.Module) -> bool:
    """Whether it has the convolution whose backward pass corrupts the heap in channels_last.

    Seen with torch 2.14.1 on the CPU for 2 to 8 input channels; 12 and more were sound.
    """
    return any(
        module.kernel_size == (1, 1) and module.stride != (1, 1) and module.in_channels < _NARROW
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )


def pick_device(asked: str) -> tuple[torch.device, str]:
    """The device, and its name for people.

    Raises:
        UserError: this machine does not have it.
    """
    if asked in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda"), f"GPU {torch.cuda.get_device_name()}"
    if asked in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps"), "Apple GPU"
    if asked in ("auto", "cpu"):
        return torch.device("cpu"), "CPU" if asked == "cpu" else "CPU (no GPU found)"
    missing = {
        "cuda": "no CUDA GPU was found"
        + ("" if torch.version.cuda else f" (torch {torch.__version__} is built without CUDA)"),
        "mps": "no Apple GPU was found",
    }[asked]
    raise UserError(
        f"hardware.device: got {asked}, but {missing}; use hardware=auto or hardware=cpu"
    )


def native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies in bf16 itself; elsewhere bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    if device.type == "cpu":
        # Private names of torch.cpu, so a torch that lacks them counts as a processor that does.
        probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, probe, bool)() for probe in probes)
    return False


def pick_precision(asked: str, device: torch.device, method: str) -> tuple[str, str]:
    """fp32, bf16 or fp16 for a method, by name, and why.

    Raises:
        UserError: it was asked for where it does not work.
    """
    if asked == "fp16" and device.type == "cpu":
        raise UserError(
            "hardware.precision: got fp16 on the CPU, expected fp32, bf16 or auto; "
            "fp16 needs loss scaling on a GPU"
        )
    if asked == "fp32" and device.type == "cuda" and native_bf16(device):
        return asked, "as asked, products in TF32"  # a GPU with bf16 has TF32
    if asked != "auto":
        return asked, "as asked"
    if device.type == "cuda":
        return (
            ("bf16", "native") if native_bf16(device) else ("fp16", "no native bf16; loss scaled")
        )
    if device.type == "cpu" and native_bf16(device):
        if method in _CPU_BF16:
            return "bf16", "native, as good as fp32: docs/results.md"
        return "fp32", "bf16 is native, but not shown faster and as good here"
    return "fp32", "no native bf16"


def _pick_compile(asked: bool, device: torch.device) -> tuple[bool, str]:
    if not asked:
        return False, ""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # whatever the compiler's tool chain raises
        torch._dynamo.reset()
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return False, f"NOT compiled (no working compiler: {reason[:80]})"
    return True, "compiled"


def compile_networks(method: Method) -> None:
    """Every network that the method calls, in place, so that a state dict's names stay."""
    for child in method.children():
        if type(child).forward is not nn.Module.forward:  # a holder of buffers is never called
            child.compile()


def data_device(asked: str, device: torch.device, size: int) -> torch.device:
    """Where the images lie: on the device while `size` bytes fit well, else on the host."""
    if asked == "host" or device.type == "cpu":
        return torch.device("cpu")
    if asked == "auto" and device.type == "cuda" and torch.cuda.mem_get_info()[0] < _ROOM * size:
        return torch.device("cpu")
    return device


def measure(device: torch.device) -> dict[str, str]:
    """How fast the device is at matrix products and a training step, in about 3 seconds."""
    from dlrun.config.compose import options
    from dlrun.models.resnet import ResNet

    speeds = {}
    dtypes = {"fp32": torch.float32}
    if native_bf16(device):  # else it is not used, and takes minutes
        dtypes["bf16"] = torch.bfloat16
    for name, dtype in dtypes.items():
        a = torch.randn(_SIDE, _SIDE, device=device, dtype=dtype)
        rate = _rate(lambda a=a: a @ a, device)  # type: ignore[misc]
        speeds[f"matrix product, {name}"] = f"{rate * 2 * _SIDE**3 / 1e9:,.0f} GFLOP/s"
    resnet20 = options("model", "resnet20").options
    network = ResNet(resnet20, (3, 32, 32), 10).to(device)
    network.to(memory_format=torch.channels_last)
    images = torch.randn(_BATCH, 3, 32, 32, device=device)
    images = images.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled="bf16" in dtypes):
            loss = network(images).float().square().mean()
        loss.backward()
        network.zero_grad()

    images_per_second = f"{_rate(step, device) * _BATCH:,.0f} images/s"
    speeds[f"resnet20 training, {list(dtypes)[-1]}, batch {_BATCH}"] = images_per_second
    return speeds


def _rate(work: Callable[[], object], device: torch.device) -> float:
    """Calls per second."""

    def call() -> None:
        work()
        synchronize(device)

    call()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        call()
        calls += 1
    return calls / (time.perf_counter() - start)


def keep_freed_memory() -> bool:
    """A step takes its tensors from memory that earlier steps have freed, not from new pages.

    glibc hands larger blocks back to the system as soon as they are free, and the next step waits
    for the kernel to clear as many pages again. It is process-wide and stays so; the peak of the
    memory in use is the same.

    Returns:
        Whether it was done: not where the C library is another, or the user has tuned it.
    """
    tuned = any(name in os.environ for name in _TUNED_BY_USER)
    if tuned or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_TRIM_THRESHOLD, _NEVER)) and bool(mallopt(_MMAP_THRESHOLD, _LARGEST))
