"""Further columns of an image folder, from a CSV file beside the images.

A column holds classes or numbers. Which of the two is read off its cells where they leave no doubt;
a column in doubt is left out, with the reason, and whoever uses it says which it is.
"""

import csv
import io
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dlrun.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FILE_COLUMN = "file"
"""Names an image by its path below the folder."""
LABEL = "label"
MISSING = ("", "nan", "na", "n/a", "null", "#n/a", "<na>", "-", "?")
"""What stands for a value that is not known, in capitals or not; None too, as pandas writes it."""

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
_EXCELS_LINE = re.compile(r"\A\"?sep=.\"?(?=\r?\n)")
_CODES = 20  # whole numbers from 0 to below it are classes without a question
_NAMES = 100  # so many different texts are classes without a question
_EXACT = 10.0**15  # whole numbers below it are exact as floats
_LARGEST = 1e30  # its square is still a float32
_SHOWN, _NAMED = 3, 5  # wrong cells in a message, classes in a line


@dataclass(frozen=True)
class Asked:
    """What the user says of the columns: which are numbers, which classes, which is the label."""

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    label: str | None = None

    def __post_init__(self) -> None:
        """Raises UserError for a column that is to be both."""
        classes = (*self.categories, *filter(None, [self.label]))
        if both := sorted(set(self.numbers) & set(classes)):
            raise UserError(f"dataset.numbers: {both[0]} is to be classes as well; choose one")


@dataclass
class Attributes:
    """The columns of a CSV file, in the order of the images.

    Attributes:
        columns: classes, int64 (N,), -1 where missing, or numbers, float32 (N,), NaN where missing.
        value_names: the names of the classes of a column, by their number; whole numbers are in
            their order, texts in that of the alphabet.
        doubts: columns that may be classes or numbers, and why; they are not among `columns`.
        report: what was read, a line for people.
    """

    columns: "dict[str, Tensor]" = field(default_factory=dict)
    value_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: dict[str, str] = field(default_factory=dict)
    report: tuple[str, ...] = ()


class _Row(NamedTuple):
    """The line on which it begins, and its cells, in the order of the header."""

    line: int
    cells: list[str]


def read_attributes(
    path: Path, root: Path, images: Sequence[str], asked: Asked | None = None
) -> Attributes:
    """The columns of `path`, a CSV file, for `images`.

    Args:
        path: its first line names the columns, one of which is `file`.
        root: the folder that the images lie below.
        images: their paths.
        asked: what the user says of the columns.

    Raises:
        UserError: the file is missing or not such a table, none of the images is in it, two of its
            lines contradict each other, or a column that was asked for as numbers has another cell.
    """
    asked = asked or Asked()
    rows, header = _table(path)
    names = [name for name in header if name and name != FILE_COLUMN]
    _demand_names(path, names, asked)
    of_file = _by_file(path, rows, header, root)
    keys = [_key(image, root) for image in images]
    found = [of_file.get(key) for key in keys]
    if not any(found):
        raise UserError(
            f"dataset.attributes: {path} knows none of the images; expected paths below {root} in "
            f"its column {FILE_COLUMN}, such as {keys[0]}"
        )
    lines = [row.line if row else 0 for row in found]
    made, told = Attributes(), []
    for name in names:
        place = header.index(name)
        cells = [row.cells[place] if row else "" for row in found]
        column = _Column(path, name, cells, lines)
        doubt = column.read(cells, made, asked)
        if doubt:
            made.doubts[name] = doubt
        told.append(f"{name} ({_described(made, name)})")
    made.report = (f"{path.name}: {', '.join(told)}{_unmatched(found, of_file, keys)}",)
    return made


class _Column:
    """The cells of a column, with their lines, and what they can be."""

    def __init__(self, path: Path, name: str, cells: list[str], lines: list[int]) -> None:
        self.path, self.name = path, name
        counts = {cell: n for cell, n in Counter(cells).items() if not _is_missing(cell)}
        self.texts, self.given = set(counts), sum(counts.values())
        commas = [cell for cell in self.texts if _COMMA.fullmatch(cell)]
        # 3,5 is a decimal comma; 1,000 may be one or a thousand.
        self.decimal_comma = any(not _THOUSANDS.fullmatch(cell) for cell in commas) and all(
            _COMMA.fullmatch(cell) or cell.lstrip("+-").isdecimal() for cell in self.texts
        )
        self.numbers = {cell: self._number(cell) for cell in self.texts}
        bad = {cell for cell, value in self.numbers.items() if value is None}
        self.wrong = self._places(bad, cells, lines)
        self.large = self._places(set(filter(self._too_large, self.texts)), cells, lines)
        self.values = sorted({value for value in self.numbers.values() if value is not None})

    @staticmethod
    def _places(texts: set[str], cells: list[str], lines: list[int]) -> list[tuple[int, str]]:
        """The lines of these cells, in order."""
        pairs = zip(lines, cells, strict=True) if texts else ()
        return sorted((line, cell) for line, cell in pairs if cell in texts)

    def _number(self, cell: str) -> float | None:
        cell = cell.replace(",", ".") if self.decimal_comma else cell
        return float(cell) if _NUMBER.fullmatch(cell) else None

    def read(self, cells: list[str], made: Attributes, asked: Asked) -> str | None:
        """Adds the column to `made`, or gives the reason why it may be classes or numbers."""
        if self.name == asked.label:
            self._demand_classes()
        if self.name in asked.numbers:
            self._demand_numbers()
            self._add_numbers(cells, made)
        elif self.name in (*asked.categories, asked.label):
            self._add_classes(cells, made)
        elif (doubt := self._doubt()) is not None:
            return doubt
        elif self.wrong or len(self.values) <= 2 or self._is_codes():
            self._add_classes(cells, made)
        else:
            self._add_numbers(cells, made)
        return None

    def _demand_classes(self) -> None:
        fractions = [value for value in self.values if not value.is_integer()]
        if self.given and not (fractions and not self.wrong and len(self.values) > 2):
            return
        found = "is empty" if not self.given else f"has numbers such as {fractions[0]:g}"
        raise UserError(
            f"dataset.label: column {self.name} of {self.path} {found}, expected one with a class "
            "for each image; numbers are learnt by method=multitask with method.tasks"
        )

    def _demand_numbers(self) -> None:
        if not self.given:
            raise UserError(f"dataset.numbers: column {self.name} of {self.path} is empty")
        wrong = self.wrong or self.large
        if not wrong:
            return
        shown = ", ".join(f"{cell!r} in line {line}" for line, cell in wrong[:_SHOWN])
        more = f" and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        what = "no numbers" if self.wrong else "too large"
        raise UserError(
            f"dataset.attributes: {self.path}: column {self.name} is to be numbers, but these are "
            f"{what}: {shown}{more}; {self._advice(wrong)}"
        )

    def _too_large(self, cell: str) -> bool:
        value = self.numbers[cell]
        return value is not None and abs(value) > _LARGEST

    def _advice(self, wrong: list[tuple[int, str]]) -> str:
        if any(_THOUSANDS.fullmatch(cell) for _, cell in wrong):
            cell = next(cell for _, cell in wrong if _THOUSANDS.fullmatch(cell))
            plain = cell.replace(",", "")
            return f"write {plain} (or {cell.replace(',', '.', 1)}, if that is what it means)"
        return "write a plain number such as 3.5 in the unit you want, or leave a cell empty"

    def _doubt(self) -> str | None:
        """Why it may be classes or numbers; None where it is clear."""
        count = len(self.values)
        if not self.given:
            return "no image has a value"
        if self.wrong and len(self.wrong) < self.given:
            line, cell = self.wrong[0]
            return f"most cells may be numbers, but {cell!r} in line {line} is none"
        if self.wrong:
            if len(self.texts) > max(_NAMES, self.given // 2):
                return f"it has {len(self.texts):,} different texts"
            if any(_THOUSANDS.fullmatch(cell) for cell in self.texts):
                return f"{self.wrong[0][1]!r} in line {self.wrong[0][0]} may be a number"
            return None
        if self.large:
            return "it has a number that is too large"
        if count > 2 and self._is_whole() and not self._is_codes():
            low, high = int(self.values[0]), int(self.values[-1])
            return f"it has {count:,} different whole numbers, {low} to {high}"
        return None

    def _is_whole(self) -> bool:
        return all(value.is_integer() for value in self.values)

    def _is_codes(self) -> bool:
        """Whether the values look like the numbers of classes: 0, 1, 2 ..., without a point."""
        return all(cell.isdecimal() for cell in self.texts) and self.values[-1] < _CODES

    def _add_numbers(self, cells: list[str], made: Attributes) -> None:
        import torch

        values = [self.numbers.get(cell) for cell in cells]
        known = [float("nan") if value is None else value for value in values]
        made.columns[self.name] = torch.tensor(known, dtype=torch.float32)

    def _add_classes(self, cells: list[str], made: Attributes) -> None:
        """By value where all are numbers, so that 1, 1.0 and 01 are the same, else by text."""
        import torch

        known = {text: value for text, value in self.numbers.items() if value is not None}
        if self.wrong or any(abs(value) >= _EXACT for value in self.values):
            names = {text: text for text in self.texts}
            order = sorted(self.texts)
        else:
            names = {text: f"{value:.15g}" for text, value in known.items()}
            order = [f"{value:.15g}" for value in self.values]
        codes = {name: code for code, name in enumerate(order)}
        found = [codes[names[cell]] if cell in names else -1 for cell in cells]
        made.columns[self.name] = torch.tensor(found)
        made.value_names[self.name] = tuple(order)


def _described(made: Attributes, name: str) -> str:
    if name in made.doubts:
        return f"not read: {made.doubts[name]}"
    column = made.columns[name]
    if column.is_floating_point():
        missing = int(column.isnan().sum())
        known = column[~column.isnan()]
        what = f"numbers, {known.min():g} to {known.max():g}"
    else:
        names, missing = made.value_names[name], int((column < 0).sum())
        shown = ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
        what = f"{len(names)} {'class' if len(names) == 1 else 'classes'}: {shown}"
    return what + (f"; {missing:,} missing" if missing else "")


def _unmatched(found: Sequence[object], of_file: dict[str, _Row], keys: Sequence[str]) -> str:
    without = sum(row is None for row in found)
    foreign = len(of_file.keys() - set(keys))
    told = [f"{without:,} of {len(found):,} images have no line"] if without else []
    told += [f"{foreign:,} lines name no image of the folder"] if foreign else []
    return "".join(f"; {text}" for text in told)


def _is_missing(cell: str) -> bool:
    return cell.casefold() in MISSING or cell == "None"


def _key(file: str, root: Path) -> str:
    """A file's path below the folder, however it was spelled: ./, backslashes, composed letters."""
    path = posixpath.normpath(unicodedata.normalize("NFC", file.replace("\\", "/")))
    folder = posixpath.normpath(unicodedata.normalize("NFC", str(root).replace("\\", "/")))
    return path if folder == "." else path.removeprefix(folder.rstrip("/") + "/")


def _by_file(
    path: Path, rows: Sequence[_Row], header: Sequence[str], root: Path
) -> dict[str, _Row]:
    """Raises UserError where two lines say different things of one file."""
    found: dict[str, _Row] = {}
    place = header.index(FILE_COLUMN)
    for row in rows:
        file = row.cells[place]
        first = found.setdefault(_key(file, root), row) if file else row
        if first is row:
            continue
        for name, before, now in zip(header, first.cells, row.cells, strict=True):
            if name not in ("", FILE_COLUMN) and before != now:
                raise UserError(
                    f"dataset.attributes: {path}: lines {first.line} and {row.line} are both of "
                    f"{file}, with {before!r} and {now!r} for {name}"
                )
    return found


def _demand_names(path: Path, names: Sequence[str], asked: Asked) -> None:
    for key, wanted in (
        ("numbers", asked.numbers),
        ("categories", asked.categories),
        ("label", (asked.label,) if asked.label else ()),
    ):
        for name in wanted:
            if name not in names:
                raise UserError(
                    f"dataset.{key}: {path} has no column {name!r}; it has {', '.join(names)}"
                )
    if LABEL in names and asked.label != LABEL:
        raise UserError(
            f"dataset.attributes: {path} has a column {LABEL}, which is what class folders say; "
            f"give it another name, or take the labels from it: dataset.label={LABEL}"
        )


def _table(path: Path) -> tuple[list[_Row], list[str]]:
    """The rows, stripped and of equal length, and the header.

    Raises:
        UserError: it cannot be read, or is not such a table.
    """
    text = _EXCELS_LINE.sub("", _text(path))  # its end stays, so the lines keep their numbers
    separator = _separator(path, text)
    lines = _lines(path, text, separator)
    _, header = next(lines)
    names = [name for name in header if name]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"dataset.attributes: {path} has two columns {twice!r}; rename one")
    rows = []
    for line, cells in lines:
        if len(cells) > len(header):
            raise UserError(
                f"dataset.attributes: {path}, line {line}: {len(cells)} cells, expected "
                f"{len(header)}; quote a cell that holds a {separator!r}"
            )
        rows.append(_Row(line, cells + [""] * (len(header) - len(cells))))
    return rows, header


def _separator(path: Path, text: str) -> str:
    """The one that makes the first line name `file` and another column."""
    for separator in (",", ";", "\t", "|"):
        _, header = next(_lines(path, text, separator), (0, []))
        if FILE_COLUMN in header and len(header) > 1:
            if dotted := [name for name in header if "." in name]:
                raise UserError(
                    f"dataset.attributes: {path}: column {dotted[0]!r} has a dot in its name, "
                    "which options cannot have; rename it"
                )
            return separator
    first = text.strip().partition("\n")[0].strip()
    raise UserError(
        f"dataset.attributes: {path} has the columns {first[:100] or '(none)'}; expected "
        f"{FILE_COLUMN} and at least one other"
    )


def _lines(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The stripped cells of each row that has some, and the number of its first line."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UserError(
                f"dataset.attributes: {path}, line {line}: {error}; is a quotation mark missing?"
            ) from error
        if cells is None:
            return
        cells = [cell.strip() for cell in cells]
        if any(cells):
            yield line, cells
        line = reader.line_num + 1


def _text(path: Path) -> str:
    """UTF-8, or UTF-16 with its mark, as spreadsheets save it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"dataset.attributes: {path}: {error.strerror}; expected a path below dataset.root"
        ) from error
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"dataset.attributes: {path}, line {line}: not UTF-8 ({error.reason}); save the table "
            "as UTF-8"
        ) from error
