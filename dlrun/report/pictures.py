"""The pictures of a run as films: few enough and small enough for one file."""

import base64
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dlrun.files import open_regular, read_bytes
from dlrun.runs.groups import SeedGroup
from dlrun.runs.run import Run, kind_order
from dlrun.text import show

BYTES = 3_500_000  # of all pictures together, before base64 adds a third
COUNT = 160  # of all pictures together
STEPS = 20  # of one film at most
_FEWEST = 3  # steps of one film
_QUALITIES = (80, 55, 30)  # of lossy WebP, tried in turn until a picture is small enough
_TITLES = {
    "views": "What the network is shown",
    "samples_mixture": "Samples from a mixture of codes",
    "traversals": "Latent traversals",
}
_LEGENDS = {
    "reconstructions": "Images above, their reconstructions below.",
    "predictions": "A row for each predicted class; red frames are mistakes.",
    "neighbours": "An image, and the train images with the nearest features.",
    "traversals": "A row for each number of the code, from low to high.",
    "interpolations": "From one image to another through their codes.",
    "translations": "Images, their translations, and the translations back.",
}


@dataclass(frozen=True)
class Frame:
    """One picture. Width and height are those to show it with, in pixels."""

    step: int
    source: str
    """A data: URI."""
    width: int
    height: int


@dataclass(frozen=True)
class Film:
    """The frames of one kind, by step, of one run or of `same` runs whose frames are equal."""

    label: str
    frames: tuple[Frame, ...]
    same: int = 1


@dataclass(frozen=True)
class Gallery:
    """One kind of picture: the films of all runs that have it, and the steps to leaf through."""

    kind: str
    films: tuple[Film, ...]
    steps: tuple[int, ...]
    left_out: int
    """Runs that have such pictures and are not shown."""
    damaged: tuple[str, ...]
    """Files that could not be read."""

    @property
    def title(self) -> str:
        """Such as Latent traversals."""
        return _TITLES.get(self.kind, self.kind.replace("_", " ").capitalize())

    @property
    def about(self) -> str:
        """What the pictures show and which are missing."""
        lines = [_LEGENDS.get(self.kind, "")]
        if self.left_out:
            runs = "1 more run" if self.left_out == 1 else f"{self.left_out} more runs"
            lines.append(f"Of the best runs; {runs} with such pictures not shown.")
        lines += [f"{file}: damaged, not shown." for file in self.damaged]
        return " ".join(line for line in lines if line)


def galleries(groups: Sequence[SeedGroup]) -> list[Gallery]:
    """One for each kind of picture, within the limits above, the best groups first."""
    labelled = _labelled(groups)
    kinds = sorted({kind for run, _ in labelled for kind in run.pictures}, key=kind_order)
    most = max(1, COUNT // _FEWEST // max(1, len(kinds)))
    shown = labelled[:most]
    films = sum(len(run.pictures) for run, _ in shown)
    steps = max(_FEWEST, min(STEPS, COUNT // max(1, films)))
    chosen = {kind: _chosen(kind, [run for run, _ in shown], steps) for kind in kinds}
    count = sum(len(paths) for of_runs in chosen.values() for paths in of_runs)
    with ThreadPoolExecutor() as pool:  # Pillow encodes outside of the interpreter's lock
        return [
            _gallery(kind, shown, chosen[kind], labelled[most:], BYTES // max(1, count), pool)
            for kind in kinds
        ]


def spaced(steps: Sequence[int], most: int) -> list[int]:
    """At most `most` (2 or more) of the sorted `steps`, evenly, the first and the last of them."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _labelled(groups: Sequence[SeedGroup]) -> list[tuple[Run, str]]:
    """Every run with what to call it: one of each group, then the next seeds."""
    found = []
    for i in range(max((len(group.runs) for group in groups), default=0)):
        for group in groups:
            if i < len(group.runs):
                run = group.runs[i]
                seed = f", seed {show(run.seed)}" if len(group.runs) > 1 else ""
                found.append((run, group.label + seed))
    return found


def _chosen(kind: str, runs: Sequence[Run], most: int) -> list[list[tuple[int, Path]]]:
    """For each run the pictures at about the same steps, and always its last one."""
    every = sorted({step for run in runs for step, _ in run.pictures.get(kind, [])})
    wanted = set(spaced(every, most))
    return [
        [found for found in pictures if found[0] in wanted or found == pictures[-1]]
        for run in runs
        for pictures in [run.pictures.get(kind, [])]
    ]


def _gallery(
    kind: str,
    shown: Sequence[tuple[Run, str]],
    chosen: list[list[tuple[int, Path]]],
    others: Sequence[tuple[Run, str]],
    limit: int,
    pool: ThreadPoolExecutor,
) -> Gallery:
    films: dict[str, Film] = {}
    damaged: list[str] = []
    encoded = list(pool.map(lambda paths: [_frame(s, p, limit) for s, p in paths], chosen))
    for (_, label), paths, frames in zip(shown, chosen, encoded, strict=True):
        damaged += [str(path) for (_, path), f in zip(paths, frames, strict=True) if f is None]
        readable = tuple(frame for frame in frames if frame is not None)
        if not readable:
            continue
        digest = hashlib.sha256("".join(f"{f.step}{f.source}" for f in readable).encode())
        before = films.get(digest.hexdigest())
        films[digest.hexdigest()] = (
            Film(before.label, readable, before.same + 1) if before else Film(label, readable)
        )
    steps = {frame.step for film in films.values() for frame in film.frames}
    left_out = sum(kind in run.pictures for run, _ in others)
    return Gallery(kind, tuple(films.values()), tuple(sorted(steps)), left_out, tuple(damaged))


def _frame(step: int, path: Path, limit: int) -> Frame | None:
    """None of a file that is not a picture."""
    try:
        with open_regular(path) as file, Image.open(file) as opened:
            opened.load()
            picture = opened if opened.mode in ("L", "RGB") else opened.convert("RGB")
            width, height = picture.size
            kind, content = _encoded(picture, path, limit)
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ):  # what Pillow raises for damaged files
        return None
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Frame(step, source, width, height)


def _encoded(picture: Image.Image, path: Path, limit: int) -> tuple[str, bytes]:
    """As the file has it where that is small, else smaller without loss, else with some."""
    size = path.stat().st_size
    if size <= limit and picture.format == "PNG":
        return "png", read_bytes(path)
    picture = _plain(picture)
    if size <= 2 * limit:
        content = _webp(picture, lossless=True, quality=0, method=0)
        if len(content) <= limit:
            return "webp", content
    for quality in _QUALITIES:
        content = _webp(picture, quality=quality, method=2)
        if len(content) <= limit:
            return "webp", content
    smaller = picture.resize(
        (max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX
    )
    return "webp", _webp(smaller, quality=_QUALITIES[1], method=2)


def _plain(picture: Image.Image) -> Image.Image:
    """Half as large, where every pixel was drawn as two by two: nothing is lost."""
    half = ((picture.width + 1) // 2, (picture.height + 1) // 2)
    small = picture.resize(half, Image.Resampling.NEAREST)
    again = small.resize((2 * half[0], 2 * half[1]), Image.Resampling.NEAREST)
    same = again.crop((0, 0, *picture.size)).tobytes() == picture.tobytes()
    return small if same else picture


def _webp(picture: Image.Image, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return buffer.getvalue()
