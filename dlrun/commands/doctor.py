"""`dlrun doctor`: what the machine has, what would be chosen, how fast it is, what data is here."""

import platform
import time
from collections.abc import Callable

from dlrun.commands.arguments import Parser

_SECONDS = 1.0  # of each of the three measurements


def run(arguments: list[str]) -> int:
    """Prints the findings; exit code 0 whatever they are."""
    parser = Parser(
        prog="dlrun doctor",
        description="What hardware was found and chosen, and what data is here.",
    )
    parser.add_argument("--data-dir", default=None, help="the cache folder (default: the user's)")
    options = parser.parse_args(arguments)

    import torch

    from dlrun import __version__
    from dlrun.commands.console import make_console
    from dlrun.registry import names
    from dlrun.runs.provenance import processor
    from dlrun.training.hardware import native_bf16, pick_device, pick_precision

    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    say(f"dlrun {__version__}, Python {platform.python_version()}, torch {torch.__version__}")
    device, found = pick_device("auto")
    say(f"processor: {processor()}, {torch.get_num_threads()} threads")
    say(f"device: {found}; bf16 is {'native' if native_bf16(device) else 'not native'}")
    say("with hardware=auto:")
    for name in names("method"):
        say(f"  {name}: {pick_precision('auto', device, name)[0]}")
    say("measuring for about 3 seconds:")
    for name, rate in _measure(device):
        say(f"  {name}: {rate}")
    _tell_data(options.data_dir, say)
    return 0


def _measure(device: object) -> list[tuple[str, str]]:
    import torch

    from dlrun.models.resnet import ResNet

    where = torch.device(str(device))
    results = []
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(1024, 1024, device=where, dtype=dtype)
        rate = _rate(lambda a=a: a @ a, where)  # type: ignore[misc]
        results.append((f"matrix product, {name}", f"{rate * 2 * 1024**3 / 1e9:,.0f} GFLOP/s"))
    resnet20 = ResNet.Config(depth=20, width=16, stem=None, init_from=None, freeze=None)
    network = ResNet(resnet20, (3, 32, 32), 10).to(where)
    network.to(memory_format=torch.channels_last)
    images = torch.randn(128, 3, 32, 32, device=where).contiguous(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast(where.type, dtype=torch.bfloat16):
            loss = network(images).float().square().mean()
        loss.backward()
        network.zero_grad()

    results.append(
        ("resnet20 training, bf16, batch 128", f"{_rate(step, where) * 128:,.0f} images/s")
    )
    return results


def _rate(work: Callable[[], object], device: object) -> float:
    """Calls a second."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    work()
    wait()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        work()
        wait()
        calls += 1
    return calls / (time.perf_counter() - start)


def _tell_data(data_dir: str | None, say: Callable[[str], None]) -> None:
    from dlrun.files import cache_folder
    from dlrun.registry import lookup

    folder = cache_folder(data_dir)
    say(f"data, in {folder}:")
    say("  fashion_mini: on board")
    for name in ("fashion_mnist", "mnist", "cifar10", "cifar100"):
        missing = lookup("dataset", name).missing(folder)
        say(f"  {name}: {'here' if not missing else 'not here yet, downloaded at first use'}")
    decoded = list((folder / "image_folder").glob("*.pt"))
    size = sum(path.stat().st_size for path in decoded) / 1e6
    say(f"  image_folder: {len(decoded)} decoded folders, {size:,.0f} MB")
