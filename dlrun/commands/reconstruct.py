"""`dlrun reconstruct RUN IMAGES...`: images beside what the model gives back of them."""

from dlrun.commands.drawing import add_output, write
from dlrun.commands.using import open_model, parser_of, tell_bad

_EXAMPLES = """\
  dlrun reconstruct last shirt.png bag.jpg
  dlrun reconstruct last ~/pictures -n 32 -o both.png
"""
_COLUMNS = 16


def run(arguments: list[str]) -> int:
    """Rows in turn: images, reconstructions. Exit code 1 if some could not be read."""
    parser = parser_of(
        "reconstruct", "Images above, what the model makes of them through its code below.",
        _EXAMPLES,
    )  # fmt: skip
    parser.add_argument("images", nargs="+", help="files, folders (all below them) or patterns")
    parser.add_argument("-n", type=int, default=64, help="at most so many (%(default)s)")
    add_output(parser)
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError

    if options.n < 1:
        raise UserError(f"-n: got {options.n}, expected 1 or more")

    from dlrun.use.capability import demand
    from dlrun.use.files import find_files
    from dlrun.use.images import read_all

    paths = find_files(options.images)[: options.n]
    model = open_model(options, "reconstruct")
    table, bad = read_all(paths, model.image_shape)
    if len(table):
        given = model.over(table, demand(model, "reconstruct").reconstruct)
        pairs = zip(table.split(_COLUMNS), given.split(_COLUMNS), strict=True)
        rows = [row for before, after in pairs for row in (before.float() / 255, after)]
        write(options, "reconstructions", rows)
    return tell_bad(bad, len(paths))
