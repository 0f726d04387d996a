"""`dlrun export RUN`: a trained network as files for other programs."""

from functools import partial

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Writes a folder of files, each compared with the original."""
    options = parse("export", arguments)

    from dlrun.console import Console
    from dlrun.export.export import FORMATS, export, require_free, with_packages
    from dlrun.runs.status import read_status
    from dlrun.use.load import load, locate

    formats = tuple(dict.fromkeys(options.format or FORMATS))
    path, folder = locate(options.run, options.which, options.outputs)
    beside = path.with_name(f"{path.stem}-export") if folder is None else folder.path / "export"
    target = options.out or beside
    require_free(target, options.force)
    say = partial(Console().say, wrap=False)
    formats = with_packages(formats, bool(options.format), say)
    status = None if folder is None else read_status(folder)
    if folder is not None and (status is None or status.state != "completed"):
        state = f"is {status.state} at step {status.step}" if status else "has no status.json"
        say(f"warning: {folder} {state}; its last checkpoint is exported")
    model = load(options.run, options.which, outputs=options.outputs, device="cpu")
    export(model, folder, target, formats, bool(options.format), options.data_dir, say)
    say(f"done: {target}")
    return 0
