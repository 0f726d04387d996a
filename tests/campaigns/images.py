"""Folders of images as they are in the world, opened as a data set and read as for `predict`.

Promise: each file is read, or counted or named with a reason; nothing else is raised than one line
for the user; nothing takes 5 s of a processor; no library's warning and no control character
reaches the screen.
"""

import io
import logging
import os
import random
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from dlrun.data.open import open_dataset
from dlrun.data.sources.image_folder import ImageFolder
from dlrun.data.sources.layout import find_images
from dlrun.errors import UserError
from dlrun.options import Choice
from dlrun.use.stream import find_files, read_all

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("1", "L", "P", "RGB"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"),
    "WEBP": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I;16", "F"),
    "AVIF": ("RGB", "RGBA"),
    "JPEG2000": ("L", "RGB", "RGBA"),
    "ICO": ("RGBA",),
}
ENDINGS = {
    "PNG": (".png", ".PNG", ".apng"), "JPEG": (".jpg", ".JPEG", ".jfif", ".jpe"), "GIF": (".gif",),
    "BMP": (".bmp", ".dib"), "TIFF": (".tif", ".tiff"), "WEBP": (".webp",), "PPM": (".ppm", ".pgm"),
    "AVIF": (".avif",), "JPEG2000": (".jp2",), "ICO": (".ico",),
}  # fmt: skip
NAMES = (
    "photo",
    "a b",
    "x,y",
    "l\nine",
    "\x1b[31mred",
    "caf\udce9",
    "ünïcode",
    "-f",
    "'q\"",
    "1.5",
)
SPLITS = {
    "train": ("train", "Train", "training", "TRAIN", "training_set", "train-images"),
    "val": ("val", "valid", "Validation", "dev"),
    "test": ("test", "Test", "testing", "eval", "test_set"),
}


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    for number in range(size):
        root = folder / f"{number}"
        maker = _Maker(rng, root)
        maker.fill()
        yield _outcome(rng, maker, folder / f"cache{rng.randrange(4)}")


def _outcome(rng: random.Random, maker: "_Maker", cache: Path) -> str | None:
    what = f"{maker.root.name} ({', '.join(maker.made)})"
    said: list[str] = []
    began = time.process_time()
    try:
        with _listening(said):
            count = _count(maker.root)
            said += _opened(rng, maker.root, cache)
            said += _read(maker.root)
    except Exception as error:
        return f"{what}: {type(error).__name__}: {error}"
    if (took := time.process_time() - began) > 5:
        return f"{what}: took {took:.0f} s"
    if count is not None and count != maker.files:
        return f"{what}: {count} of {maker.files} files are read or counted"
    for text in said:
        if not all(letter.isprintable() or letter == "\n" for letter in text):
            return f"{what}: raw letters in {text!r}"
    return None


def _count(root: Path) -> int | None:
    """Of the files that are read or told; None where there is nothing to train on."""
    try:
        files = find_images(root)
    except UserError:
        return None
    return sum(1 for _ in files) + files.left_out.images + files.left_out.endings.total()


def _opened(rng: random.Random, root: Path, cache: Path) -> list[str]:
    options = ImageFolder.Config(
        val_fraction=rng.choice((0.0, 0.1)), domains=None, positive=None, root=str(root), size=8,
        channels=rng.choice(("auto", 1, 3)), bits="auto", test_fraction=0.2,
        bad_files=rng.choice(("error", "skip", "skip")), attributes=None, numbers=(), categories=(),
        label=None,
    )  # fmt: skip
    try:
        data = open_dataset(Choice("image_folder", options), str(cache))
    except UserError as error:
        return [str(error)]
    return [*data.report, *data.class_names]


def _read(root: Path) -> list[str]:
    try:
        found = find_files([str(root)])
    except UserError as error:
        return [str(error)]
    table, unreadable = read_all(found, (3, 8, 8), 16)
    assert len(table) + len(unreadable) == len(found)
    assert all(read.error for read in unreadable), "no reason"
    return [read.error for read in unreadable]


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Fails if anything is written to standard error by whatever library; log lines are kept."""
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("dlrun")
    before, logger.handlers = logger.handlers, [handler]
    propagate, logger.propagate = logger.propagate, False
    screen = os.dup(2)
    with open(os.memfd_create("stderr"), "w+b") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            logger.handlers, logger.propagate = before, propagate
        file.seek(0)
        written = file.read().decode(errors="replace")
        assert not written, f"on the screen: {written!r}"


class _Maker:
    """Fills a folder; `files` is how many of its files are to be read or told."""

    def __init__(self, rng: random.Random, root: Path) -> None:
        self.rng, self.root, self.files, self.made = rng, root, 0, list[str]()
        self.damaged = rng.choice((0, 0, 0.1, 0.5))
        root.mkdir()

    def fill(self) -> None:
        rng = self.rng
        layout = rng.choice(("classes", "classes", "splits", "splits", "loose", "one", "domains"))
        classes = rng.sample(["cat", "dog", "caf\udce9", "l\nine", "train", "Ärzte"], 3)
        self.made.append(layout)
        if layout == "loose":
            self.images(self.root, rng.randint(1, 12))
        elif layout == "one":
            for name in rng.sample(classes, 2):
                self.images(self.root / "pets" / name, rng.randint(0, 4))
        elif layout == "domains":
            for name in ("trainA", "trainB", *rng.sample(["testA", "testB", "valA"], 2)):
                self.images(self.root / name, rng.randint(1, 3))
        elif layout == "classes":
            for name in classes:
                self.images(self.root / name / rng.choice(("", "", "deep/er")), rng.randint(0, 8))
        else:
            for split in rng.sample(sorted(SPLITS), rng.randint(1, 3)) + ["train"] * rng.randint(
                0, 1
            ):
                place = self.root / rng.choice(SPLITS[split])
                for name in rng.choice((classes, classes[:2], [*classes, "other"], [""])):
                    self.images(place / name, rng.randint(0, 6))
        for extra in rng.sample(sorted(_EXTRAS), rng.randint(0, 3)):
            self.made.append(extra)
            _EXTRAS[extra](self, rng.choice([*filter(Path.is_dir, self.inside()), self.root]))

    def inside(self) -> list[Path]:
        """What lies in the folder and belongs to no run."""
        found = (path for path in sorted(self.root.rglob("*")) if not path.is_symlink())
        return [path for path in found if self.root / "outputs" not in (path, *path.parents)]

    def images(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            content, ending = image(self.rng, self.damaged)
            self.file(folder / f"{self.rng.choice(NAMES)}{number}{ending}", content)

    def file(self, path: Path, content: bytes) -> None:
        self.files += not path.exists()
        path.write_bytes(content)

    def texts(self, folder: Path) -> None:
        for name in ("notes.txt", "Makefile", "x.HEIC", "photo.jpg?w=3"):
            self.file(folder / name, b"no image")

    def hidden(self, folder: Path) -> None:
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "._a.png").write_bytes(b"x")

    def empty(self, folder: Path) -> None:
        (folder / "empty").mkdir(exist_ok=True)

    def run(self, _: Path) -> None:
        run = self.root / "outputs" / "image_folder" / "vae" / "20260101"
        (run / "samples").mkdir(parents=True, exist_ok=True)
        for name in ("status.json", "samples/1.png"):
            (run / name).write_bytes(b"{}")
        (run / "config.yaml").write_text("outputs: outputs\n")

    def pipe(self, folder: Path) -> None:
        path = folder / self.rng.choice(("pipe.png", "pipe"))
        if not path.exists():
            os.mkfifo(path)
            self.files += 1

    def device(self, folder: Path) -> None:
        self.link(folder / "zero.png", Path("/dev/zero"))

    def broken(self, folder: Path) -> None:
        self.link(folder / "nowhere.png", Path("/not/there.png"))

    def twin(self, folder: Path) -> None:
        found = [path for path in self.inside() if path.is_file() and path.suffix]
        if found:
            self.link(folder / f"twin{found[0].suffix}", found[0])

    def loop(self, folder: Path) -> None:
        for target in (folder, folder.parent, self.root):
            path = folder / f"loop{len(target.parts)}"
            if not path.is_symlink():
                path.symlink_to(target)

    def link(self, path: Path, target: Path) -> None:
        if not path.is_symlink() and not path.exists():
            path.symlink_to(target)
            self.files += 1


_EXTRAS = {
    name: getattr(_Maker, name)
    for name in ("texts", "hidden", "empty", "run", "pipe", "device", "broken", "twin", "loop")
}


def image(rng: random.Random, damaged: float) -> tuple[bytes, str]:
    """An image file, damaged or not, and an ending that may be another format's."""
    kind = rng.choice(sorted(MODES))
    mode = rng.choice(MODES[kind])
    picture = _picture(rng, mode)
    options: dict[str, Any] = {}
    if kind in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") and rng.random() < 0.4:
        options["exif"] = _exif(rng, kind)
    if kind in ("GIF", "PNG", "WEBP", "TIFF") and rng.random() < 0.1:  # AVIF of Pillow 13 crashes
        options |= {"save_all": True, "append_images": [picture.rotate(180)]}
    if mode in ("P", "L") and kind == "PNG" and rng.random() < 0.3:
        options["transparency"] = rng.randrange(256)
    buffer = io.BytesIO()
    try:
        picture.save(buffer, kind, **options)
    except Exception:  # not every mode and EXIF can be written
        buffer = io.BytesIO()
        _picture(rng, "RGB").save(buffer, "PNG")
        kind = "PNG"
    content = buffer.getvalue()
    if rng.random() < damaged:
        content = rng.choice((_cut, _flipped, _zeroed, _huge, _empty))(rng, content)
    return content, rng.choice((*ENDINGS[kind], "", ".png"))


def _picture(rng: random.Random, mode: str) -> Image.Image:
    size = rng.choice(((1, 1), (8, 8), (17, 5), (40, 30), (1, 60)))
    if mode == "I;16":
        top = rng.choice((1, 255, 4095, 65535))
        values = [rng.randint(0, top) for _ in range(size[0] * size[1])]
        return Image.frombytes("I;16", size, struct.pack(f"<{len(values)}H", *values))
    if mode in ("I", "F"):
        return Image.new(mode, size, rng.choice((0, 300, 70_000)))
    colour = Image.new("RGB", size, tuple(rng.randrange(256) for _ in range(3)))  # type: ignore[arg-type]
    return colour.convert("L").convert(mode) if mode == "LA" else colour.convert(mode)


def _exif(rng: random.Random, kind: str) -> bytes:
    tag = rng.choice(((3, struct.pack("<H", rng.randrange(12))), (2, b"top"), (5, bytes(2))))
    entry = struct.pack("<HHI", 0x0112, tag[0], rng.choice((1, 4, 2**31))) + tag[1].ljust(4, b"\0")
    whole = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4)
    return rng.choice((whole, whole[: rng.randrange(len(whole))], b"Exif\0\0" + rng.randbytes(20)))


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def _flipped(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 5, 50))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _zeroed(rng: random.Random, content: bytes) -> bytes:
    start = rng.randrange(len(content))
    length = min(rng.randint(1, 40), len(content) - start)
    return content[:start] + bytes(length) + content[start + length :]


def _empty(_: random.Random, __: bytes) -> bytes:
    return b""


def _huge(rng: random.Random, content: bytes) -> bytes:
    """A header that says that the image is very large."""
    side = rng.choice((9_000, 12_000, 20_000, 60_000))
    if content.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", side, side) + content[24:29]
        return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]
    if content.startswith(b"BM"):
        return content[:18] + struct.pack("<ii", side, side) + content[26:]
    if content.startswith(b"GIF8"):
        return content[:6] + struct.pack("<HH", side, side) + content[10:]
    start = content.find(b"\xff\xc0\0")  # of a JPEG's frame
    if content.startswith(b"\xff\xd8") and start > 0:
        return content[: start + 5] + struct.pack(">HH", side, side) + content[start + 9 :]
    return b"P6 %d %d 255\n" % (side, side)
