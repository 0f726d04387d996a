"""What `rm` and `gc` share: the list, the question, and what was deleted."""

import sys
from collections.abc import Sequence

from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.runs.removal import Item, remove
from dlrun.text import readable_size, short


def delete(
    items: Sequence[Item], notes: Sequence[str], dry_run: bool, yes: bool, console: Console
) -> int:
    """Shows the items, asks, deletes.

    Args:
        items: what would be deleted.
        notes: what to know before, on stderr.
        dry_run: whether to delete nothing.
        yes: whether not to ask.
        console: to print to.

    Returns:
        The exit code, 1 where something could not be deleted.

    Raises:
        UserError: nobody is there to answer.
    """
    for note in notes:
        print(f"dlrun: {note}", file=sys.stderr)
    for item in items:
        console.say(f"{readable_size(item.size):>9}  {item.kind}: {short(item.path)}")
    total = f"{len(items)} of these, {readable_size(sum(item.size for item in items))}"
    if dry_run:
        console.say(f"{total}; nothing was deleted (--dry-run)")
        return 0
    if not yes and not _agreed(total):
        console.say("nothing was deleted")
        return 0
    freed = failed = 0
    for item in items:
        try:
            remove(item)
            freed += item.size
        except UserError as error:
            failed += 1
            print(f"dlrun: {error}", file=sys.stderr)
    console.say(f"deleted {len(items) - failed}, {readable_size(freed)} freed")
    return 1 if failed else 0


def _agreed(total: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(f"{total}: nobody is there to ask; --yes deletes, --dry-run lists")
    try:
        return input(f"delete {total}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
