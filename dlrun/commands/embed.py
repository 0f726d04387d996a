"""`dlrun embed RUN [DATA...]`: features to a file, a projector, a picture, a grid of neighbours."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import made_folder, open_model, parser_of, progress, say, shown, tell_bad

if TYPE_CHECKING:
    from dlrun.use.collect import Part

_EXAMPLES = """\
  dlrun embed last                                  the val split of its own data set
  dlrun embed last --split train -o train.npy
  dlrun embed last ~/pictures -o features.parquet
  dlrun embed last ~/pictures --picture tsne --neighbours --projector
"""
_ROWS, _COLUMNS = 12, 12
_SPLITS = ("train", "val", "test")


def run(arguments: list[str]) -> int:
    """Writes the features and what else is asked for; exit code 1 if some could not be read."""
    options = _parser().parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.use.collect import Sample, of_files, of_split
    from dlrun.use.features import write_features
    from dlrun.use.files import find_files
    from dlrun.use.projection import demand_library

    out = None if options.out is None else Path(options.out).expanduser()
    if out is not None and out.suffix not in (".npy", ".parquet"):
        raise UserError(f"{out}: expected a name that ends in .npy or .parquet")
    if options.sample < 3:
        raise UserError(f"--sample: got {options.sample}, expected 3 or more")
    if options.picture:
        demand_library(options.picture)
    if options.images and options.images[-1] in _SPLITS and not Path(options.images[-1]).exists():
        raise UserError(
            f"{options.images[-1]}: no such file or folder; a split of the run's own "
            f"data set is --split {options.images[-1]}"
        )
    paths = find_files(options.images) if options.images else []
    model = open_model(options, "embed")
    with progress(len(paths)) as advance:
        source = of_files(model, paths, advance) if paths else of_split(model, options.split)
        path = out or made_folder(options) / f"features-{source.name}.npy"
        sample = Sample(source.count, options.sample)
        drawn = options.picture or options.neighbours or options.projector
        count, width = write_features(sample.watch(source.parts) if drawn else source.parts, path)
    if count:
        print(shown(path))
        say(f"{count:,} images, {width} features each")
    if count and drawn:
        _draw(sample.whole(), count, options, path, model.step)
    return tell_bad(source.bad, source.count)


def _parser() -> Any:
    parser = parser_of(
        "embed",
        "Features of images: (N, D) float32 as .npy, with the files' names beside it, or as "
        ".parquet.\nThey are written as they come; pictures are made of --sample of them. Without "
        "images, those of a\nsplit of the run's own data set.",
        _EXAMPLES,
    )
    parser.add_argument("images", nargs="*", help="files, folders (all below them) or patterns")
    parser.add_argument(
        "--split", choices=_SPLITS, default="val",
        help="of its own data set, where no images are given (%(default)s)",
    )  # fmt: skip
    parser.add_argument("-o", "--out", help="a .npy or .parquet file (RUN/made/features-....npy)")
    parser.add_argument(
        "--picture", nargs="?", const="pca", choices=("pca", "tsne", "umap"),
        help="the features in two dimensions, coloured by class (pca)",
    )  # fmt: skip
    parser.add_argument("--neighbours", action="store_true", help="a grid of what lies beside what")
    parser.add_argument("--projector", action="store_true", help="for TensorBoard, with thumbnails")
    parser.add_argument(
        "--sample", type=int, default=5000, metavar="N",
        help="images that pictures, neighbours and projector are made of (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of t-SNE and UMAP (%(default)s)")
    return parser


def _draw(found: "Part", count: int, options: Namespace, path: Path, step: int) -> None:
    """The pictures that are asked for."""
    from dlrun.evaluation.pictures import grid
    from dlrun.use.pictures import save, to_picture
    from dlrun.use.projection import in_two_dimensions, neighbour_rows, scatter

    if len(found.names) < count:
        say(f"pictures are of {len(found.names):,} of them, evenly spread (--sample)")
    if options.picture:
        points = in_two_dimensions(found.features, options.picture, options.seed)
        picture = scatter(points, found.labels)
        place = path.with_name(f"{path.stem}-{options.picture}.png")
        print(shown(save(to_picture(picture), place)))
    if options.neighbours:
        rows = neighbour_rows(found.features, found.images, _ROWS, _COLUMNS)
        place = path.with_name(f"{path.stem}-neighbours.png")
        print(shown(save(to_picture(grid(rows)), place)))
    if options.projector:
        _project(found, path.with_name(f"{path.stem}-projector"), step)


def _project(found: "Part", folder: Path, step: int) -> None:
    """TensorBoard's projector, in a folder of its own."""
    from torch.utils.tensorboard import SummaryWriter

    metadata = found.labels or found.names
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(
            found.features, metadata=metadata, label_img=found.images.float() / 255,
            global_step=step, tag="features",
        )  # fmt: skip
    print(f"{shown(folder)}: tensorboard --logdir {shown(folder)}")
