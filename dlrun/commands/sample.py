"""`dlrun sample RUN -n 64`: generated images."""

from dlrun.commands.parsers import parse
from dlrun.commands.trained import open_model, write_pictures

_COLUMNS = 8  # or more, to be about square


def run(arguments: list[str]) -> int:
    """Writes a grid of them."""
    options = parse("sample", arguments)
    images = open_model(options, "sample").sample(options.n, options.seed)
    rows = images.split(max(_COLUMNS, round(len(images) ** 0.5)))
    write_pictures(options, f"samples-seed{options.seed}", rows)
    return 0
