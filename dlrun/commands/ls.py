"""`dlrun ls`: every run below a folder, in one table."""

from datetime import datetime
from pathlib import Path
from typing import Any

from dlrun.commands.arguments import Parser


def run(arguments: list[str]) -> int:
    """Prints the table, or JSON."""
    parser = Parser(prog="dlrun ls", description="List runs, oldest first.")
    parser.add_argument("outputs", nargs="?", default="outputs", help="the folder (%(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)

    from dlrun.errors import UserError
    from dlrun.runs.index import all_runs

    if not Path(options.outputs).is_dir():
        raise UserError(f"{options.outputs}: no such folder; runs are made by `dlrun train`")
    rows = [_row(folder) for folder in all_runs(Path(options.outputs))]
    if options.json:
        import json

        print(json.dumps(rows, indent=2))
        return 0

    from rich import box
    from rich.table import Table

    from dlrun.commands.console import make_console

    console = make_console()
    if not rows:
        console.print(f"no run below {options.outputs} yet; `dlrun train` makes one")
        return 0
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    for column in ("run", "status", "method", "data set", "done", "best on val"):
        table.add_column(column, no_wrap=column != "data set", overflow="fold")
    colours = {"completed": "green", "running": "cyan", "interrupted": "yellow", "failed": "red"}
    for row in rows:
        state = f"[{colours.get(row['status'], 'white')}]{row['status']}[/]"
        best = "" if row["best"] is None else f"{row['metric']} {row['best']:.4g}"
        step = f"{row['step'] / max(1, row['total']):.0%}"
        table.add_row(row["run"], state, row["method"], row["dataset"], step, best)
    console.print(table)
    return 0


def _row(folder: Any) -> dict[str, Any]:
    from dlrun.errors import UserError
    from dlrun.runs.files import read_json
    from dlrun.runs.status import read_status

    try:
        config = folder.read_config()
    except UserError:
        config = {}
    status, summary = read_status(folder), read_json(folder.summary)
    return {
        "run": folder.name,
        "folder": str(folder),
        "status": status.state if status else "unknown",
        "reason": status.reason if status else "",
        "method": config.get("method", {}).get("name", "?"),
        "dataset": config.get("dataset", {}).get("name", "?"),
        "seed": config.get("seed"),
        "step": status.step if status else 0,
        "total": status.total if status else 0,
        "metric": summary.get("key_metric"),
        "best": summary.get("best", {}).get("val"),
        "started": f"{datetime.fromtimestamp(status.started):%m-%d %H:%M}" if status else "",
    }
