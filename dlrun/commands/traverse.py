"""`dlrun traverse RUN`: what each latent dimension does."""

from dlrun.commands.parsers import parse
from dlrun.commands.trained import note, open_model, slug, write_pictures
from dlrun.errors import UserError

_ROWS = 10


def run(arguments: list[str]) -> int:
    """Writes a row of images for each dimension."""
    options = parse("traverse", arguments)

    from dlrun.methods.abilities import HasPosterior
    from dlrun.use.features import codes_of

    model = open_model(options, "traverse")
    has_prior = isinstance(model.method, HasPosterior)
    if options.prior and not has_prior:
        raise UserError(f"--prior: {model} has none; leave it out, or give images by --among")
    codes = None
    if not options.prior:
        try:
            codes = codes_of(model, options.among or ())
        except UserError as error:
            if options.among:
                raise
            if not has_prior:
                raise UserError(f"{error}; give images by --among") from None
            note(f"note: the data set cannot be opened ({error}); the prior N(0, 1) is used")
    rows = model.traverse(options.image, dims=options.dims, steps=options.steps, codes=codes)
    name = "traversal" if options.image is None else f"traversal-{slug(options.image)}"
    write_pictures(options, name, list(rows if options.dims else rows[:_ROWS]), is_walk=True)
    return 0
