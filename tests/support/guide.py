"""The examples of docs/your-own.md: a user's own method, GAN, loss, model, data set and logger."""

import re
from pathlib import Path
from textwrap import dedent

GUIDE = Path(__file__).parents[2] / "docs" / "your-own.md"
_NAMED = re.compile(r"`([\w/]+\.(?:py|yaml))`")


def examples() -> dict[str, str]:
    """The files of the guide: each indented block, by the file that the text in front names."""
    found, before = {}, ""
    for block in re.split(r"\n(?=\S)", GUIDE.read_text()):
        text, _, code = block.partition("\n\n    ")
        before = f"{before} {text}" if text and not text.startswith("#") else ""
        if code:
            names = _NAMED.findall(before)
            if names and not names[-1].startswith("dlrun/"):
                found[names[-1]] = dedent(f"    {code}").rstrip() + "\n"
            before = ""
    return found
