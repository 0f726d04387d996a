"""`dlrun embed RUN [IMAGES...]`: features to a file, and pictures of them."""

from pathlib import Path

from dlrun.commands.parsers import SPLITS, parse
from dlrun.commands.trained import note, open_model, output_folder, progress, report_unreadable
from dlrun.errors import UserError
from dlrun.text import short


def run(arguments: list[str]) -> int:
    """Writes the features and pictures of them; exit code 1 if some could not be read."""
    options = parse("embed", arguments)

    from dlrun.use.features import (
        Sample,
        of_files,
        of_split,
        pictures,
        require_library,
        write_projector,
    )
    from dlrun.use.pictures import save, to_picture
    from dlrun.use.stream import find_files
    from dlrun.use.write import write_features

    out = options.out
    if out is not None and out.suffix not in (".npy", ".parquet"):
        raise UserError(f"{out}: expected a name that ends in .npy or .parquet")
    if options.picture:
        require_library(options.picture)
    last = options.images[-1] if options.images else None
    if last in SPLITS and not Path(last).exists():
        raise UserError(
            f"{last}: no such file or folder; for a split of the run's own data set, give "
            f"--split {last}"
        )
    paths = find_files(options.images)
    model = open_model(options, "embed")
    with progress(len(paths)) as advance:
        source = of_files(model, paths, advance) if paths else of_split(model, options.split)
        path = out or output_folder(options) / f"features-{source.name}.npy"
        sample = Sample(source.count, options.sample)
        is_drawn = bool(options.picture or options.neighbours or options.projector)
        parts = sample.watch(source.parts) if is_drawn else source.parts
        count, width = write_features(parts, path)
    if count:
        print(short(path))
        note(f"{count:,} images, {width} features each")
    if count and is_drawn:
        found = sample.whole()
        if len(found.names) < count:
            note(f"pictures show {len(found.names):,} of them, evenly spread (--sample)")
        made = pictures(found, options.picture, options.neighbours, options.seed)
        for name, picture in made.items():
            print(short(save(to_picture(picture), path.with_name(f"{path.stem}-{name}.png"))))
        if options.projector:
            folder = path.with_name(f"{path.stem}-projector")
            write_projector(found, folder, model.step)
            print(f"{short(folder)}: tensorboard --logdir {short(folder)}")
    return report_unreadable(source.unreadable, source.count)
