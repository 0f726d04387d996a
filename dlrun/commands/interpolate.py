"""`dlrun interpolate RUN A B`: between two images in the latent space."""

from dlrun.commands.parsers import parse
from dlrun.commands.trained import open_model, slug, write_pictures


def run(arguments: list[str]) -> int:
    """Writes a row of images."""
    options = parse("interpolate", arguments)
    model = open_model(options, "interpolate")
    line = model.interpolate(options.a, options.b, options.steps)
    name = f"interpolation-{slug(options.a)}-{slug(options.b)}"
    write_pictures(options, name, [line], is_walk=True)
    return 0
