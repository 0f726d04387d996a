"""`dlrun show RUN`: what became of one run."""

from pathlib import Path

from dlrun.commands.arguments import Parser


def run(arguments: list[str]) -> int:
    """Prints status, figures, the last numbers, pictures and the config."""
    parser = Parser(prog="dlrun show", description="One run in detail.")
    parser.add_argument(
        "run", help="a run's folder, its name, the beginning of its name, or 'last'"
    )
    parser.add_argument(
        "--outputs", default="outputs", help="where runs are looked for (%(default)s)"
    )
    options = parser.parse_args(arguments)

    from rich.table import Table

    from dlrun.commands.console import make_console
    from dlrun.commands.present import figures, further, look_at, notes
    from dlrun.files import read_json, read_jsonl
    from dlrun.runs.index import find_run
    from dlrun.runs.status import read_status
    from dlrun.text import flatten, show

    folder = find_run(options.run, Path(options.outputs))
    plain, status, summary = folder.read_config(), read_status(folder), read_json(folder.summary)
    console = make_console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    say(str(folder))
    if status is not None:
        reason = f": {status.reason}" if status.reason else ""
        say(f"{status.state} at step {status.step} of {status.total}{reason}")
    provenance = read_json(folder.provenance)
    if provenance:
        git = provenance.get("git") or {}
        commit = (
            f", commit {git['commit'][:10]}{' with changes' if git['diff'] else ''}" if git else ""
        )
        say(f"torch {provenance['packages']['torch']}{commit}; {provenance['hardware']}")
    if summary:
        console.print(figures(summary))
        for line in notes(summary):
            say(line)
        further(summary, console)
    else:
        latest: dict[str, float] = {}
        for row in read_jsonl(folder.metrics):
            latest |= row
        say("  ".join(f"{name} {value:.4g}" for name, value in latest.items() if "/" in name))
    for line in look_at(folder):
        say(line)
    table = Table.grid(padding=(0, 2))
    for key, value in flatten(plain).items():
        table.add_row(key, show(value))
    say("")
    console.print(table, highlight=False)
    if status is not None and status.state in ("pruned", "interrupted", "failed"):
        say(f"\ngo on with: dlrun resume {folder.name}")
    return 0
