"""Which files of a folder are images, of which split and class, and which are left out.

Understands FOLDER/CLASS/*, FOLDER/{train,val,test}/CLASS/*, FOLDER/{trainA,trainB,testA,testB}/*
and a plain FOLDER/* without classes, with the splits in any usual spelling. Hidden files and
folders are passed over; everything else is read or counted. Needs neither torch nor Pillow.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dlrun.errors import UserError
from dlrun.text import printable

SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".avif", ".jfif", ".jpe",
    ".ppm", ".pgm", ".pbm", ".pnm", ".dib", ".jp2", ".apng",
)  # fmt: skip
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8[79]a|BM|II\*\0|MM\0\*|P[1-6]\s|RIFF....WEBP|....ftypavi[fs]",
    re.DOTALL,
)
"""How a file begins that has no ending, such as a download, and is an image."""
_ENDING = re.compile(r"\.[a-z]\w{0,7}$", re.IGNORECASE)

_SPLIT = re.compile(
    r"(?:(?P<train>train(?:ing)?)|(?P<test>test(?:ing)?|eval(?:uation)?)"
    r"|(?P<val>val(?:id(?:ation)?)?|dev))(?:[ _-]?(?:set|data|images|split))?(?:[ _-]?([ab]))?",
    re.IGNORECASE,
)
_RUN = ("status.json", ".config.json")  # one of which lies beside the config.yaml of a run
_LOOP = "a link to what is read already"
_FEW = 4  # kinds, names or folders that a line lists

Entry = tuple[str, int | None]
"""A file's path, which as text is a second faster for 60,000 files, and its class."""


@dataclass
class LeftOut:
    """What lies below a folder and is not read."""

    root: str
    endings: Counter[str] = field(default_factory=Counter)
    """How many files are no images, by their ending."""
    folders: dict[str, str] = field(default_factory=dict)
    """Why a folder is not read."""
    images: int = 0
    """Images in such folders, or beside those that are read."""
    ignored: str | None = None
    """A file that is read as something else."""

    def folder(self, path: str | Path, why: str, images: int = 0) -> None:
        """Counts a folder as one that is not read."""
        self.folders.setdefault(f"{printable(os.path.relpath(path, self.root))}/", why)
        self.images += images

    def __str__(self) -> str:
        parts = []
        if self.images:
            parts.append(f"{self.images:,} image{'s' * (self.images > 1)}")
        if self.endings:
            count = self.endings.total()
            kinds = [printable(kind) for kind, _ in self.endings.most_common(_FEW)]
            parts.append(f"{count:,} file{'s' * (count > 1)} ({_listed(kinds, len(self.endings))})")
        folders = [f"{name} ({why})" for name, why in list(self.folders.items())[: 2 * _FEW]]
        return ", ".join([*parts, *([_listed(folders, len(self.folders))] if folders else [])])


def _listed(shown: list[str], total: int) -> str:
    more = total - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True)
class Files:
    """The images of the splits; val and test are empty where the folder has none.

    `places` are the folders of val and test; `notes` are for people.
    """

    train: list[Entry]
    val: list[Entry]
    test: list[Entry]
    class_names: tuple[str, ...]
    places: dict[str, str]
    left_out: LeftOut
    notes: list[str]

    def __iter__(self) -> Iterator[Entry]:
        yield from self.train
        yield from self.val
        yield from self.test


def find_images(root: Path, ignored: str | None = None) -> Files:
    """Which files, in which split, of which class; sorted, so that the order is that of the names.

    Args:
        root: the folder.
        ignored: a file below it that is known to be no image.

    Raises:
        UserError: there is no image to train on, or two folders are the same split.
    """
    left = LeftOut(str(root), ignored=str(root / ignored) if ignored else None)
    folders = _folders(root, left)
    splits = {name: found for name in folders if (found := _SPLIT.fullmatch(name))}
    domains = _by_split({name: m for name, m in splits.items() if m[4]}, "AB")
    if {"trainA", "trainB"} <= domains.keys():
        return _domain_folders(root, folders, domains, left)
    places = _by_split({name: found for name, found in splits.items() if not found[4]})
    notes: list[str] = []
    if not _has_splits(root, folders, places):
        if places and len(places) == len(folders):
            names = ", ".join(f"{name}/" for name in places.values())
            raise UserError(
                f"dataset.root: {printable(str(root))} has {names} and no train/ to train on"
            )
        class_names, train = _class_folders(root, left, notes)
        _demand(train, root, left)
        return Files(train, [], [], class_names, {}, left, notes)
    left.images += len(_images(root, left, deep=False))
    for name in folders:
        if name not in places.values():
            left.folder(root / name, "no split", len(_images(root / name, left)))
    class_names, train = _class_folders(root / places["train"], left, notes)
    _demand(train, root / places["train"], left)
    read: dict[str, list[Entry]] = {"val": [], "test": []}
    for split in ("val", "test"):
        if split not in places:
            continue
        read[split] = _like_train(root / places[split], split, class_names, left, notes)
    kept = {split: f"{places[split]}/" for split in read if read[split]}
    return Files(train, read["val"], read["test"], class_names, kept, left, notes)


def _by_split(found: dict[str, re.Match[str]], domains: str = "") -> dict[str, str]:
    """From train, val and test, or trainA and so on, to the folder that is it."""
    places: dict[str, str] = {}
    for name, match in found.items():
        split = next(split for split in ("train", "val", "test") if match[split])
        role = split + (match[4].upper() if domains else "")
        if role in places:
            raise UserError(
                f"dataset.root: {places[role]}/ and {name}/ are both a {role} split; rename or "
                "move one of them"
            )
        places[role] = name
    return places


def _has_splits(root: Path, folders: list[str], places: dict[str, str]) -> bool:
    """Whether train/ is the train split and not a class of that name, the kind on rails."""
    if "train" not in places:
        return False
    others = (root / name for name in folders if name != places["train"])
    return (
        len(places) > 1
        or bool(_folders(root / places["train"]))
        or not any(map(images_below, others))
    )


def _domain_folders(root: Path, folders: list[str], places: dict[str, str], left: LeftOut) -> Files:
    def images(split: str) -> list[Entry]:
        if split != "train" and not {f"{split}A", f"{split}B"} & places.keys():
            return []
        found: list[Entry] = []
        for label, domain in enumerate("AB"):
            folder = root / places.get(f"{split}{domain}", f"{split}{domain}")
            paths = _images(folder, left) if folder.is_dir() else []
            if not paths:
                raise UserError(f"dataset.root: no image in {printable(str(folder))}")
            found += [(path, label) for path in paths]
        return found

    train, val, test = (images(split) for split in ("train", "val", "test"))
    used = set(places.values())
    left.images += len(_images(root, left, deep=False))
    for name in folders:
        if name not in used:
            left.folder(root / name, "no domain", len(_images(root / name, left)))
    kept = {split: f"{split}A/ and {split}B/" for split, e in (("val", val), ("test", test)) if e}
    return Files(train, val, test, ("A", "B"), kept, left, [])


def _class_folders(
    folder: Path, left: LeftOut, notes: list[str]
) -> tuple[tuple[str, ...], list[Entry]]:
    """The classes with their images, or images without a class."""
    loose = _images(folder, left, deep=False)
    classes = {}
    for name in _folders(folder, left):
        paths = _images(folder / name, left)
        if paths:
            classes[name] = paths
        else:
            left.folder(folder / name, "no image")
    if not classes:
        return (), [(path, None) for path in loose]
    if loose:
        left.images += len(loose)
        notes.append(
            f"left out: {len(loose):,} image{'s' * (len(loose) > 1)} in {printable(str(folder))} "
            "itself, in no class's folder"
        )
    if len(classes) == 1:
        notes += _too_high(folder / next(iter(classes)))
    names = tuple(printable(name) for name in classes)
    return names, [(path, label) for label, name in enumerate(classes) for path in classes[name]]


def _too_high(only: Path) -> list[str]:
    """The usual reason for a single class."""
    inside = [name for name in _folders(only) if images_below(only / name)]
    if len(inside) < 2:
        return []
    shown = _listed([printable(name) for name in inside[:_FEW]], len(inside))
    return [
        f"the only class is {printable(only.name)}, which has the folders {shown}; if these are "
        f"the classes or splits, set dataset.root={printable(str(only))}"
    ]


def _like_train(
    folder: Path, split: str, class_names: tuple[str, ...], left: LeftOut, notes: list[str]
) -> list[Entry]:
    """The images of val or test with train's class numbers; none where they do not fit."""
    place, option = f"{printable(folder.name)}/", f"dataset.{split}_fraction"
    names, entries = _class_folders(folder, left, [])
    instead = f"{split} is held out of train ({option})"
    if not entries:
        notes.append(f"{place} has no image; {instead}")
        return []
    if not class_names:
        if names:
            notes.append(f"train has no class folders, so the classes of {place} are not used")
        return [(path, None) for path, _ in entries]
    if not set(names) & set(class_names):
        why = f"its folders ({_listed(list(names[:_FEW]), len(names))}) are no classes of train"
        why = why if names else "it has no class folders"
        left.folder(folder, "without labels" if not names else "other classes", len(entries))
        notes.append(f"{place} is not read: {why}; {instead}")
        return []
    known = {name: label for label, name in enumerate(class_names)}
    kept: dict[str, list[Entry]] = {name: [] for name in class_names}
    unknown = Counter[str]()
    for path, label in entries:
        name = names[label] if label is not None else ""
        if name in known:
            kept[name].append((path, known[name]))
        else:
            unknown[name] += 1
    for name, count in unknown.items():
        left.folder(folder / name, "no class of train", count)
    missing = [name for name in class_names if name not in names]
    if missing:
        shown = _listed(missing[:_FEW], len(missing))
        notes.append(f"{place} has no image of {shown}; {split} figures say nothing of that")
    return [entry for part in kept.values() for entry in part]


def _demand(train: list[Entry], folder: Path, left: LeftOut) -> None:
    if not train:
        ends = f"; left out: {left}" if str(left) else ""
        raise UserError(
            f"dataset.root: no image below {printable(str(folder))}; expected "
            f"{', '.join(SUFFIXES[:6])} files{ends}"
        )


def _folders(folder: Path, left: LeftOut | None = None) -> list[str]:
    """Without links to the folder itself or one above it, which would read all of that."""
    above, names = _above(folder), []
    for entry in folder.iterdir():
        if entry.is_dir() and not _is_hidden(entry.name):
            if os.path.realpath(entry) not in above:
                names.append(entry.name)
            elif left is not None:
                left.folder(entry, _LOOP)
    return sorted(names)


def _is_hidden(folder: str) -> bool:
    """Whether nobody put it there to be seen, as the thumbnails that Synology's servers add."""
    return folder.startswith(".") or folder == "@eaDir"


def _above(folder: Path | str) -> set[str]:
    real = os.path.realpath(folder)
    return {real, *map(str, Path(real).parents)}


def _images(folder: Path, left: LeftOut, deep: bool = True) -> list[str]:
    def unreadable(error: OSError) -> None:
        raise UserError(
            f"dataset.root: {printable(str(error.filename))} cannot be read: {error.strerror}"
        )

    return images_below(folder, deep, unreadable, left)


def images_below(
    folder: Path | str,
    deep: bool = True,
    onerror: Callable[[OSError], None] | None = None,
    left: LeftOut | None = None,
) -> list[str]:
    """Every image file below a folder, sorted by folder and name.

    Links are followed, and each folder is read once. The runs of dlrun below it are passed over,
    and the whole of the folder that they were written to: their pictures are no data.

    Args:
        folder: to look in.
        deep: whether to look in its subfolders.
        onerror: called for a folder that cannot be read; None: it is passed over.
        left: counts what is not read.
    """
    left = LeftOut(str(folder)) if left is None else left
    found: list[str] = []
    others: list[tuple[str, str]] = []
    loops: list[str] = []
    of_runs: set[str] = set()
    seen = _above(folder)
    for where, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        is_run = "config.yaml" in names and any(name in names for name in _RUN)
        if is_run and not os.path.samefile(where, left.root):
            of_runs.add(_written_with(where, left.root))
            folders.clear()
            continue
        subfolders = [name for name in sorted(folders) if deep and not _is_hidden(name)]
        folders.clear()
        for name in subfolders:
            path = os.path.join(where, name)
            real = os.path.realpath(path)
            if real not in seen:
                seen.add(real)
                folders.append(name)
            else:
                loops.append(path)
        for name in sorted(names):
            path = os.path.join(where, name)
            if not name.startswith(".") and path != left.ignored:
                kind = _kind(path, name)
                if kind is None:
                    found.append(path)
                else:
                    others.append((path, kind))
    for path in of_runs:
        left.folder(path, "runs")
    inside = tuple(f"{path}{os.sep}" for path in of_runs)
    for path in loops:
        if not path.startswith(inside):
            left.folder(path, _LOOP)
    left.endings.update(kind for path, kind in others if not path.startswith(inside))
    return [path for path in found if not path.startswith(inside)]


def _kind(path: str, name: str) -> str | None:
    """None for an image; else its ending, or what it is."""
    ending = _ENDING.search(name)
    is_image = ending is not None and ending[0].lower() in SUFFIXES
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return "pipe or device"
        if ending is None:
            with open(path, "rb") as file:
                is_image = _MAGIC.match(file.read(16)) is not None
    except OSError:  # a link to nothing, or no permission: decoding says so
        is_image = is_image or ending is None
    return None if is_image else ending[0].lower() if ending else "no ending"


def _written_with(run: str, root: str) -> str:
    """The folder with everything that was written with a run, OUTPUTS/DATASET/METHOD/RUN.

    The run alone, where it lies elsewhere now; never `root` itself or a folder above it.
    """
    try:
        text = Path(run, "config.yaml").read_text("utf-8", "replace")
    except OSError:
        return run
    given = re.search(r"^outputs: ['\"]?(.*?)/*['\"]?$", text, re.MULTILINE)
    outputs = Path(run).parents[2] if len(Path(run).parents) > 2 else Path(run)
    if given is None or os.path.basename(given[1]) != outputs.name:
        return run
    below = Path(run).relative_to(root).parts
    inside = outputs.parts[len(Path(root).parts) :]
    return os.path.join(root, *(inside or below[:1]))
