"""`dlrun traverse RUN`: what each number of a code does."""

from argparse import Namespace
from typing import TYPE_CHECKING

from dlrun.commands.drawing import add_output, slug, write
from dlrun.commands.using import open_model, parser_of

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.use import TrainedModel

_EXAMPLES = """\
  dlrun traverse last
  dlrun traverse last --image shirt.png --dims 0 3 7 --gif
  dlrun traverse last --among ~/pictures
"""
_ROWS, _CODES = 10, 250


def run(arguments: list[str]) -> int:
    """A row for each number, moved from 3 standard deviations below to 3 above."""
    parser = parser_of(
        "traverse",
        "A row for each number of the code, moved by itself from 3 standard deviations below to 3 "
        "above;\nthose that vary most first. How far is said by images: of the val split, of "
        "--among, or by the prior.",
        _EXAMPLES,
    )
    parser.add_argument("--image", help="whose code is begun with (the mean code)")
    parser.add_argument("--dims", type=int, nargs="+", help="which numbers (the 10 that vary most)")
    parser.add_argument("--steps", type=int, default=11, help="images of each (%(default)s)")
    parser.add_argument("--among", nargs="+", help="images that say how far codes go")
    parser.add_argument("--prior", action="store_true", help="go as far as the prior, N(0, 1)")
    add_output(parser, animated=True)
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.methods.abilities import HasPosterior

    if options.steps < 2:
        raise UserError(f"--steps: got {options.steps}, expected 2 or more")
    model = open_model(options, "traverse")
    if options.prior and not isinstance(model.method, HasPosterior):
        raise UserError(f"--prior: {model} has none; leave it out, or give images by --among")
    codes = None if options.prior else _codes(model, options)
    walked = model.traverse(
        options.image, dims=options.dims, steps=options.steps, codes=codes,
    )  # fmt: skip
    name = "traversal" if options.image is None else f"traversal-{slug(options.image)}"
    rows = walked if options.dims else walked[:_ROWS]
    write(options, name, list(rows), animate=True)
    return 0


def _codes(model: "TrainedModel", options: Namespace) -> "Tensor | None":
    """Of the images that say how far numbers go; None: the data set is not here, take the prior."""
    from dlrun.commands.using import say
    from dlrun.errors import UserError
    from dlrun.methods.abilities import HasPosterior
    from dlrun.use.files import find_files
    from dlrun.use.images import read_all
    from dlrun.use.judging import open_for

    if options.among:
        table, bad = read_all(find_files(options.among)[:_CODES], model.image_shape)
        if len(table) < 2:
            raise UserError(f"--among: {len(table)} images ({len(bad)} unreadable), expected 2")
        return model.features(table)
    try:
        data = open_for(model, model.config["dataset"], (), model.config.get("data_dir"))
    except UserError as error:
        if not isinstance(model.method, HasPosterior):
            raise UserError(f"{error}; give images by --among") from None
        say(f"note: the data set is not here ({error}), so the prior says how far codes go")
        return None
    held_out = data.val if len(data.val) else data.test
    return model.features(held_out.images[:_CODES])
