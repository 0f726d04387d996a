"""`dlrun export RUN`: a trained network as files for other programs."""

from pathlib import Path

from dlrun.commands.using import parser_of

_DESCRIPTION = """\
Write what a run has learnt for use without dlrun, each file compared with the original on images of
the test split first:
  safetensors    all weights that inference needs
  torchvision    a state dict of the backbone and its classifying layer, which torchvision loads
  onnx           a program of each thing that the run can do, of any batch size, pixels in [0, 1]
  torch_export   the same for torch.export.load
and a card: data, licence, figures, the command to reproduce it."""
_EXAMPLES = """\
  dlrun export last
  dlrun export last --format onnx -o served/
  dlrun export copied/best.pt --data-dir ~/data --force
"""


def run(arguments: list[str]) -> int:
    """Writes a folder of files, each checked against the original."""
    formats = ("safetensors", "torchvision", "onnx", "torch_export")
    parser = parser_of("export", _DESCRIPTION, _EXAMPLES, device=False)
    parser.add_argument(
        "-o", "--out", metavar="FOLDER", help="(the folder export in the run's own)"
    )
    parser.add_argument("--format", nargs="+", choices=formats, help="(all that apply)")
    parser.add_argument("--force", action="store_true", help="replace an older export")
    parser.add_argument("--data-dir", help="where the run's data set is (as the run has it)")
    options = parser.parse_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.export.export import FORMATS, demand_extras, demand_free, export
    from dlrun.runs.status import read_status
    from dlrun.use.load import load, locate

    chosen = tuple(dict.fromkeys(options.format or FORMATS))
    path, folder = locate(options.run, options.which, options.outputs)
    beside = path.with_name(f"{path.stem}-export") if folder is None else folder.path / "export"
    target = Path(options.out).expanduser() if options.out else beside
    demand_free(target, options.force)
    demand_extras(chosen)
    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    status = None if folder is None else read_status(folder)
    if folder is not None and (status is None or status.state != "completed"):
        state = (
            "has no status.json" if status is None else f"is {status.state} at step {status.step}"
        )
        say(f"warning: {folder} {state}; what it has learnt so far is exported")
    model = load(options.run, options.which, outputs=options.outputs, device="cpu")
    export(model, folder, target, chosen, bool(options.format), options.data_dir, say)
    say(f"done: {target}")
    return 0
