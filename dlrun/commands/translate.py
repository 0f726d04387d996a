"""`dlrun translate RUN IN OUT --to B`: a folder of images into the other domain."""

from pathlib import Path

from dlrun.commands.parsers import parse
from dlrun.commands.trained import note, open_model, progress, report_unreadable
from dlrun.errors import UserError


def run(arguments: list[str]) -> int:
    """Translates what is not in the folder yet; exit code 1 if some could not be read."""
    options = parse("translate", arguments)

    from dlrun.data.sources.layout import images_below
    from dlrun.use.pictures import translate_files, with_ending

    source, target = options.images, options.out
    if not source.is_dir():
        raise UserError(f"{source}: no such folder")
    if target.exists() and (not target.is_dir() or target.samefile(source)):
        raise UserError(f"{target}: expected a folder other than that of the images")
    model = open_model(options, "translate")
    direction = model.direction(options.to)
    inside = target.resolve()
    paths = [p for p in images_below(str(source)) if not Path(p).resolve().is_relative_to(inside)]
    if not paths:
        raise UserError(f"{source}: no image below it")
    files = {path: with_ending(target / Path(path).relative_to(source)) for path in paths}
    left = {p: file for p, file in files.items() if options.overwrite or not file.exists()}
    with progress(len(left)) as advance:
        unreadable = translate_files(model, left, direction, advance)
    skipped = len(files) - len(left)
    before = f", {skipped:,} existed already (--overwrite replaces them)" if skipped else ""
    domain = (model.domains or "AB")[direction == "a_to_b"]
    note(f"{len(left) - len(unreadable):,} images translated to {domain}{before}: {target}")
    return report_unreadable(unreadable, len(files))
