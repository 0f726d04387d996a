"""`dlrun export RUN`: a trained network as files for other programs."""

from pathlib import Path

from dlrun.commands.arguments import Parser


def run(arguments: list[str]) -> int:
    """Writes a folder of files, each checked against the original."""
    formats = ("safetensors", "torchvision", "onnx", "torch_export")
    parser = Parser(
        prog="dlrun export",
        description="Write what a run has learnt for use without dlrun: weights as safetensors, a "
        "state dict of the backbone that torchvision loads, ONNX and torch.export programs of any "
        "batch size for everything that the run can do, and a card. Each is compared with the "
        "original on images of the test split first.",
    )
    parser.add_argument("run", help="a run's folder or name, the beginning of it, 'last', or a .pt")
    parser.add_argument("--to", metavar="FOLDER", help="(the folder export in the run's own)")
    parser.add_argument("--format", nargs="+", choices=formats, help="(all that apply)")
    parser.add_argument("--which", choices=("best", "last"), default="best", help="(%(default)s)")
    parser.add_argument("--force", action="store_true", help="replace an older export")
    parser.add_argument("--data-dir", help="where the run's data set is (as the run has it)")
    parser.add_argument(
        "--outputs", default="outputs", help="where runs are looked for (%(default)s)"
    )
    options = parser.parse_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.export.export import FORMATS, demand_extras, demand_free, export
    from dlrun.runs.status import read_status
    from dlrun.use.load import load, locate

    chosen = tuple(dict.fromkeys(options.format or FORMATS))
    path, folder = locate(options.run, options.which, options.outputs)
    beside = path.with_name(f"{path.stem}-export") if folder is None else folder.path / "export"
    target = Path(options.to).expanduser() if options.to else beside
    demand_free(target, options.force)
    demand_extras(chosen)
    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    status = None if folder is None else read_status(folder)
    if folder is not None and (status is None or status.state != "completed"):
        state = "has not begun" if status is None else f"is {status.state} at step {status.step}"
        say(f"warning: {folder} {state}; what it has learnt so far is exported")
    model = load(options.run, options.which, outputs=options.outputs, device="cpu")
    export(model, folder, target, chosen, bool(options.format), options.data_dir, say)
    say(f"done: {target}")
    return 0
