"""`dlrun gc`: what no result depends on, deleted."""

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Deletes; 1 if something could not be deleted."""
    options = parse("gc", arguments)

    from dlrun.console import Console
    from dlrun.errors import UserError
    from dlrun.runs.removal import KINDS, garbage
    from dlrun.runs.run import runs_below
    from dlrun.views.deletion import delete

    outputs, console = options.outputs, Console()
    if not outputs.is_dir():
        raise UserError(f"{outputs}: no such folder; runs are made by `dlrun train`")
    items, notes = garbage(outputs, runs_below(outputs), options.kinds or KINDS, options.days)
    if items:
        return delete(items, notes, options.dry_run, options.yes, console)
    console.say(*notes, f"nothing to delete below {outputs}")
    return 0
