"""`dlrun doctor`: what the machine has, what would be used, how fast it is, what data is here."""

import platform

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Prints the findings; exit code 0 whatever they are."""
    options = parse("doctor", arguments)

    import torch

    from dlrun import __version__
    from dlrun.console import Console
    from dlrun.data.sources.decoded import entries
    from dlrun.files import cache_folder
    from dlrun.registry import lookup, names
    from dlrun.runs.provenance import processor
    from dlrun.text import readable_size
    from dlrun.training.hardware import measure, native_bf16, pick_device, pick_precision

    say = Console().say
    say(f"dlrun {__version__}, Python {platform.python_version()}, torch {torch.__version__}")
    device, found = pick_device("auto")
    threads = torch.get_num_threads()
    say(f"processor: {processor()}, {threads} thread{'' if threads == 1 else 's'}")
    say(f"device: {found}; bf16 is {'native' if native_bf16(device) else 'not native'}")
    say("precision with hardware=auto:")
    for name in names("method"):
        say(f"  {name}: {pick_precision('auto', device, name)[0]}")
    say("measuring for about 3 seconds:")
    for name, speed in measure(device).items():
        say(f"  {name}: {speed}")
    folder = cache_folder(options.data_dir)
    say(f"data, in {folder}:")
    say("  fashion_mini: included")
    for name in names("dataset"):
        missing = getattr(lookup("dataset", name), "missing", None)
        if missing is not None:
            state = "downloaded at first use" if missing(folder) else "here"
            say(f"  {name}: {state}")
    cache = folder / "image_folder"
    files = entries(cache)
    size = readable_size(sum(path.stat().st_size for path in files))
    count = sum(path.suffix == ".pt" for path in files)
    say(f"  image_folder: {count} decoded, {size} in {cache} (`dlrun gc decoded` frees old ones)")
    return 0
