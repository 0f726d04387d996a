"""What the verbs that make pictures share: a grid, an animation, single files, and where to."""

import re
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.commands.arguments import Parser
from dlrun.commands.using import made_folder, shown

if TYPE_CHECKING:
    from torch import Tensor

_COLUMNS = 8


def add_output(parser: Parser, animated: bool = False) -> None:
    """--out and --single, and --gif where images follow one another."""
    parser.add_argument(
        "-o", "--out", help="a .png for the grid, or a folder (RUN/made, or FILE-made beside one)"
    )
    parser.add_argument("--single", action="store_true", help="ROW-COLUMN.png of each, too")
    if animated:
        parser.add_argument("--gif", action="store_true", help="an animation, too")


def write(options: Namespace, name: str, rows: Sequence["Tensor"], animate: bool = False) -> None:
    """The grid of `rows`, each (N, C, H, W) in [0, 1], and what else is asked for; prints paths.

    Args:
        options: the verb's.
        name: of the files, where none is given.
        rows: of the grid.
        animate: whether the columns follow one another.
    """
    from dlrun.evaluation.pictures import grid
    from dlrun.use.pictures import save, save_animation, to_picture

    out = None if options.out is None else Path(options.out).expanduser()
    path = (made_folder(options) if out is None else out) / f"{name}.png"
    if out is not None and out.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp"):
        path = out
    print(shown(save(to_picture(grid(rows)), path)))
    if animate and options.gif:
        frames = [grid([row[place : place + 1] for row in rows]) for place in _there_and_back(rows)]
        print(shown(save_animation(frames, path.with_suffix(".gif"))))
    if options.single:
        folder = path.with_suffix("")
        for row, images in enumerate(rows):
            for column, image in enumerate(images):
                place = (
                    f"{row:03d}-{column:03d}" if animate else f"{row * len(rows[0]) + column:05d}"
                )
                save(to_picture(image), folder / f"{place}.png")
        print(shown(folder))


def in_rows(images: "Tensor", columns: int = _COLUMNS) -> list["Tensor"]:
    """Images (N, C, H, W) as rows of a grid, about square where there are many."""
    columns = max(columns, round(len(images) ** 0.5))
    return list(images.split(columns))


def slug(path: str) -> str:
    """The name of a file as a part of another's."""
    return re.sub(r"[^\w-]+", "-", Path(path).stem)[:40] or "image"


def _there_and_back(rows: Sequence["Tensor"]) -> list[int]:
    steps = list(range(len(rows[0])))
    return steps + steps[-2:0:-1]
