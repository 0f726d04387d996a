"""Until the verbs that other branches rewrite import these themselves."""

from dlrun.console import Console, log_to

make_console = Console
__all__ = ["log_to", "make_console"]
