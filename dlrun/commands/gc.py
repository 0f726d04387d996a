"""`dlrun gc`: what no result depends on, deleted."""

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Deletes; 1 if something could not be deleted."""
    options = parse("gc", arguments)

    from dlrun.console import Console
    from dlrun.data.sources.decoded import unused
    from dlrun.errors import UserError
    from dlrun.files import cache_folder
    from dlrun.runs.removal import KINDS, Item, garbage
    from dlrun.runs.run import runs_below
    from dlrun.views.deletion import delete

    outputs, console = options.outputs, Console()
    kinds = options.kinds or KINDS
    items: list[Item] = []
    notes: list[str] = []
    if "decoded" in kinds:
        cache = cache_folder(options.data_dir) / "image_folder"
        items = [Item(path, why) for path, why in unused(cache, options.days)]
    if set(kinds) != {"decoded"}:
        if not outputs.is_dir() and not items:
            raise UserError(f"{outputs}: no such folder; runs are made by `dlrun train`")
        found, notes = garbage(outputs, runs_below(outputs), kinds, options.days)
        items += found
    if items:
        return delete(items, notes, options.dry_run, options.yes, console)
    console.say(*notes, f"nothing to delete below {outputs}, and no decoded images that are unused")
    return 0
