"""`dlrun reconstruct RUN IMAGES...`: images next to their reconstructions."""

from dlrun.commands.parsers import parse
from dlrun.commands.trained import open_model, report_unreadable, write_pictures

_COLUMNS = 16


def run(arguments: list[str]) -> int:
    """Rows of images, each above its reconstructions; exit code 1 if some could not be read."""
    options = parse("reconstruct", arguments)

    from dlrun.use.stream import find_files, read_all

    paths = find_files(options.images)[: options.n]
    model = open_model(options, "reconstruct")
    images, unreadable = read_all(paths, model.image_shape, model.info.bits)
    if len(images):
        reconstructions = model.reconstruct(images).split(_COLUMNS)
        pairs = zip((images.float() / 255).split(_COLUMNS), reconstructions, strict=True)
        write_pictures(options, "reconstructions", [row for pair in pairs for row in pair])
    return report_unreadable(unreadable, len(paths))
