"""`dlrun translate RUN IN OUT --to B`: a folder of images into the other domain."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import open_model, parser_of, progress, say, tell_bad

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from dlrun.use import TrainedModel
    from dlrun.use.files import Read

_EXAMPLES = """\
  dlrun translate last horses/ as-deer/ --to deer
  dlrun translate last photos/ out/ --to B
  dlrun translate copied/best.pt photos/ out/ --to A --overwrite
"""
_SIZE = 32  # images at once: their translations wait for the disk


def run(arguments: list[str]) -> int:
    """Translates what is not there yet; exit code 1 if some could not be read."""
    options = _parser().parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.use.files import images_below, stream

    source, target = (Path(p).expanduser() for p in (options.images, options.out))
    if not source.is_dir():
        raise UserError(f"{source}: no such folder")
    if target.exists() and (not target.is_dir() or target.samefile(source)):
        raise UserError(f"{target}: expected another folder than the images', to write to")
    model = open_model(options, "translate")
    way = model.direction(options.to)
    inside = target.resolve()
    paths = [p for p in images_below(str(source)) if not Path(p).resolve().is_relative_to(inside)]
    if not paths:
        raise UserError(f"{source}: no image below it")
    there = {path: target / Path(path).relative_to(source) for path in paths}
    left = [path for path in paths if options.overwrite or not there[path].exists()]
    bad: list[tuple[str, str]] = []
    with ThreadPoolExecutor() as pool, progress(len(left)) as advance:
        for batch in stream(left, lambda path: _decoded(path, model), _SIZE):
            bad += _translated(model, batch, way, there, pool)
            advance(len(batch))
    skipped = len(paths) - len(left)
    before = f", {skipped:,} were there already (--overwrite makes them again)" if skipped else ""
    say(f"{len(left) - len(bad):,} images translated to {_name(model, way)}{before}: {target}")
    return tell_bad(bad, len(paths))


def _parser() -> Any:
    parser = parser_of(
        "translate",
        "Translate every image below a folder with an unpaired method. Names, sub-folders and "
        "sizes are kept:\na whole image is brought to the model's size and its translation back. "
        "The same command again goes on\nwhere it was stopped.",
        _EXAMPLES,
    )
    parser.add_argument("images", metavar="IN", help="a folder of images")
    parser.add_argument("out", metavar="OUT", help="the folder that is written to")
    parser.add_argument(
        "--to", required=True, help="the domain to go to: A, B, or its name; a_to_b, b_to_a"
    )
    parser.add_argument("--overwrite", action="store_true", help="also what is there already")
    return parser


def _decoded(path: str, model: "TrainedModel") -> "tuple[Tensor, tuple[int, int]]":
    """At the model's size, and the image's own width and height."""
    from dlrun.data.sources.decoding import open_picture, stretched

    picture, size = open_picture(path, model.image_shape)
    return stretched(picture, model.image_shape), size


def _translated(
    model: "TrainedModel",
    batch: "list[Read[tuple[Tensor, tuple[int, int]]]]",
    way: Any,
    there: dict[str, Path],
    pool: ThreadPoolExecutor,
) -> list[tuple[str, str]]:
    """Writes a batch; what could not be read of it, and why."""
    import torch

    from dlrun.use.capability import demand
    from dlrun.use.pictures import to_picture

    good = [(read.path, *read.value) for read in batch if read.value is not None]
    if good:
        table = torch.stack([pixels for _, pixels, _ in good])
        method = demand(model, "translate")
        images = model.over(table, lambda x: method.translate(x, way))
        pairs = zip(good, images, strict=True)
        waiting = [
            pool.submit(_written, to_picture(image), size, there[path])
            for (path, _, size), image in pairs
        ]
        for future in waiting:
            future.result()
    return [(read.path, read.why) for read in batch if read.value is None]


def _written(picture: "Image", size: tuple[int, int], path: Path) -> None:
    from PIL import Image

    from dlrun.use.pictures import save

    save(picture if picture.size == size else picture.resize(size, Image.Resampling.BICUBIC), path)


def _name(model: "TrainedModel", way: str) -> str:
    place = 1 if way == "a_to_b" else 0
    return model.domains[place] if model.domains else "AB"[place]
