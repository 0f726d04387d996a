"""`dlrun interpolate RUN A B`: from one image to another by way of codes."""

from dlrun.commands.drawing import add_output, slug, write
from dlrun.commands.using import open_model, parser_of

_EXAMPLES = """\
  dlrun interpolate last shirt.png trousers.png
  dlrun interpolate last a.jpg b.jpg --steps 24 --gif
"""


def run(arguments: list[str]) -> int:
    """Decodes the line between two codes."""
    parser = parser_of(
        "interpolate", "The images on the line between the codes of two images.", _EXAMPLES
    )
    parser.add_argument("a", help="an image's file")
    parser.add_argument("b", help="another one")
    parser.add_argument("--steps", type=int, default=12, help="images of it (%(default)s)")
    add_output(parser, animated=True)
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError

    if options.steps < 2:
        raise UserError(f"--steps: got {options.steps}, expected 2 or more")
    model = open_model(options, "interpolate")
    line = model.interpolate(options.a, options.b, options.steps)
    write(options, f"interpolation-{slug(options.a)}-{slug(options.b)}", [line], animate=True)
    return 0
