"""How the verbs read their arguments."""

import argparse
from typing import NoReturn

from dlrun.errors import UserError


class Parser(argparse.ArgumentParser):
    """argparse, but for a mistake that is told in one line as all others are."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message}; `{self.prog} --help` tells more")
