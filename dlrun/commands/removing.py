"""What `rm` and `gc` share: the list, the question, the deed."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlrun.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from dlrun.results.removal import Item


def sized(count: float) -> str:
    """Bytes for people: 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def carry_out(items: Sequence["Item"], dry_run: bool, yes: bool, console: "Console") -> int:
    """Shows the items, asks unless told not to, deletes; 1 where something could not be."""
    from dlrun.results.removal import remove

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    for item in items:
        say(f"{sized(item.size):>9}  {item.kind}: {item.path}")
    total = f"{len(items)} of these, {sized(sum(item.size for item in items))}"
    if dry_run:
        say(f"{total}; nothing was deleted (--dry-run)")
        return 0
    if not yes and not _agreed(total):
        say("nothing was deleted")
        return 0
    freed = failed = 0
    for item in items:
        try:
            remove(item.path)
            freed += item.size
        except UserError as error:
            failed += 1
            print(f"dlrun: {error}", file=sys.stderr)
    say(f"deleted {len(items) - failed}, {sized(freed)} freed")
    return 1 if failed else 0


def _agreed(total: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(f"{total}: nobody there to ask; --yes deletes them, --dry-run lists")
    try:
        return input(f"delete {total}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
