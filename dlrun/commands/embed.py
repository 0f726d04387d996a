"""`dlrun embed RUN [DATA...]`: features to a file, a projector, a picture, a grid of neighbours."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import made_folder, open_model, parser_of, progress, shown, tell_bad

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.use import TrainedModel
    from dlrun.use.collect import Collected

_EXAMPLES = """\
  dlrun embed last                                  the val split of its own data set
  dlrun embed last --split train -o train.npy
  dlrun embed last ~/pictures -o features.parquet
  dlrun embed last ~/pictures --picture tsne --neighbours --projector
"""
_ROWS, _COLUMNS = 12, 12


def run(arguments: list[str]) -> int:
    """Writes the features and what else is asked for; exit code 1 if some could not be read."""
    options = _parser().parse_intermixed_args(arguments)

    from dlrun.errors import UserError

    out = None if options.out is None else Path(options.out).expanduser()
    if out is not None and out.suffix not in (".npy", ".parquet"):
        raise UserError(f"{out}: expected a name that ends in .npy or .parquet")
    model = open_model(options, "embed")
    thumbnails = options.projector or options.neighbours
    found = _collected(model, options, thumbnails)
    if not len(found.features):
        return tell_bad(found.bad, len(found.bad))
    path = out or made_folder(options) / f"features-{found.name}.npy"
    _save(found, path)
    if options.picture:
        _draw(found, options, path)
    if options.neighbours:
        from dlrun.evaluation.pictures import grid
        from dlrun.use.pictures import save, to_picture
        from dlrun.use.projection import neighbour_rows

        rows = neighbour_rows(found.features, found.thumbnails, _ROWS, _COLUMNS)
        place = path.with_name(f"{path.stem}-neighbours.png")
        print(shown(save(to_picture(grid(rows)), place)))
    if options.projector:
        _project(found, path.with_name(f"{path.stem}-projector"), model.step)
    return tell_bad(found.bad, len(found.features) + len(found.bad))


def _parser() -> Any:
    parser = parser_of(
        "embed",
        "Features of images: (N, D) float32 as .npy, with the files' names beside it, or as "
        ".parquet.\nWithout images, those of a split of the run's own data set.",
        _EXAMPLES,
    )
    parser.add_argument("images", nargs="*", help="files, folders (all below them) or patterns")
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="val",
        help="of its own data set, where no images are given (%(default)s)",
    )  # fmt: skip
    parser.add_argument("-o", "--out", help="a .npy or .parquet file (RUN/made/features-....npy)")
    parser.add_argument(
        "--picture", nargs="?", const="pca", choices=("pca", "tsne", "umap"),
        help="the features in two dimensions, coloured by class (pca)",
    )  # fmt: skip
    parser.add_argument("--neighbours", action="store_true", help="a grid of what lies beside what")
    parser.add_argument("--projector", action="store_true", help="for TensorBoard, with thumbnails")
    parser.add_argument("--seed", type=int, default=0, help="of t-SNE and UMAP (%(default)s)")
    return parser


def _collected(model: "TrainedModel", options: Namespace, thumbnails: bool) -> "Collected":
    from dlrun.use.collect import of_files, of_split
    from dlrun.use.files import find_files

    if not options.images:
        return of_split(model, options.split)
    paths = find_files(options.images)
    with progress(len(paths)) as advance:
        return of_files(model, paths, thumbnails, advance)


def _save(found: "Collected", path: Path) -> None:
    if path.suffix == ".parquet":
        from dlrun.use.rows import writing

        columns: dict[str, type] = {"image": str, "label": str}
        columns |= {f"f{place}": float for place in range(found.features.shape[1])}
        with writing(path, "parquet", columns) as writer:
            for number, values in enumerate(found.features.split(1024)):
                rows = [
                    {"image": found.names[i], "label": found.labels[i] if found.labels else None}
                    | {f"f{place}": value for place, value in enumerate(row)}
                    for i, row in enumerate(values.tolist(), 1024 * number)
                ]
                writer.write(rows)
    else:
        _save_npy(found, path)
    print(shown(path))
    n, d = found.features.shape
    print(f"{n:,} images, {d} features each", file=sys.stderr)


def _save_npy(found: "Collected", path: Path) -> None:
    """The features, and beside them a .tsv with the name and class of each row."""
    import os

    import numpy as np

    from dlrun.runs.files import write_text

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npy")
    np.save(temporary, found.features.numpy())
    os.replace(temporary, path)
    names = found.names
    if found.labels:
        names = [f"{name}\t{label}" for name, label in zip(names, found.labels, strict=True)]
    write_text(path.with_suffix(".tsv"), "".join(f"{line}\n" for line in names))


def _draw(found: "Collected", options: Namespace, path: Path) -> None:
    from dlrun.use.pictures import save, to_picture
    from dlrun.use.projection import in_two_dimensions, scatter

    points: Tensor = in_two_dimensions(found.features, options.picture, options.seed)
    picture = scatter(points, found.labels)
    place = path.with_name(f"{path.stem}-{options.picture}.png")
    print(shown(save(to_picture(picture), place)))


def _project(found: "Collected", folder: Path, step: int) -> None:
    """TensorBoard's projector, in a folder of its own."""
    from torch.utils.tensorboard import SummaryWriter

    metadata = found.labels or found.names
    with SummaryWriter(str(folder)) as writer:
        writer.add_embedding(
            found.features, metadata=metadata, label_img=found.thumbnails.float() / 255,
            global_step=step, tag="features",
        )  # fmt: skip
    print(f"{shown(folder)}: tensorboard --logdir {shown(folder)}")
