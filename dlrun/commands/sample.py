"""`dlrun sample RUN -n 64`: images of nothing."""

from dlrun.commands.drawing import add_output, in_rows, write
from dlrun.commands.using import open_model, parser_of

_EXAMPLES = """\
  dlrun sample last
  dlrun sample last -n 100 --seed 7 -o clothes.png
  dlrun sample copied/best.pt -n 1000 --single -o many/
"""


def run(arguments: list[str]) -> int:
    """Draws them; the same for the same seed."""
    parser = parser_of("sample", "Images that a generative run makes of nothing.", _EXAMPLES)
    parser.add_argument("-n", type=int, default=64, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="others for each (%(default)s)")
    add_output(parser)
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError

    if options.n < 1:
        raise UserError(f"-n: got {options.n}, expected 1 or more")
    model = open_model(options, "sample")
    write(options, f"samples-seed{options.seed}", in_rows(model.sample(options.n, options.seed)))
    return 0
