"""Tables beside images: each column is read as what it is, asked about, or refused with its line.

A trial writes a table whose columns are made as classes or numbers, in one of the ways in which
programs and people write them, and may spoil it in one place. What a careful reader would say of it
is known from how it was made.
"""

import csv
import io
import math
import random
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrun.data.sources.attributes import Asked, read_attributes
from dlrun.errors import UserError

MISSING = ("", "nan", "NaN", "NA", "N/A", "null", "None", "#N/A", "<NA>", "-", "?", "  ")
NO_NUMBERS = ("31 y", "many", "1_000", "٣", "inf", "1/2", "0x1F", "1e", "--3", "ca. 7", "12:30")
FLAGS = (("-1", "1"), ("0.0", "1.0"), ("False", "True"), ("no", "yes"), ("0", "1"), ("f", "m"))
WORDS = (
    "red",
    "größe",
    "Dark brown",
    "a,b",
    'say "x"',
    "none",
    "x;y",
    "tab\there",
    "2nd",
    "no one",
)
DOUBT = "doubt"


@dataclass
class Column:
    """Cells as written, and what they mean: a name, a number, None where missing; or `DOUBT`."""

    cells: list[str]
    meant: list[Any] | str
    asked: str | None = None
    wrong: tuple[int, ...] = ()
    """Rows whose cells are no numbers although numbers were asked for."""


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    """Trials of one table each."""
    for _ in range(size):
        yield trial(random.Random(rng.random()), folder)


def trial(rng: random.Random, folder: Path) -> str | None:
    """Why the table was read otherwise than it was made; None if it was not."""
    root = folder / rng.choice(["pics", "größe"])
    names = [f"{rng.choice(['cat', 'dog', 'ä b'])}/{number:03d}.png" for number in range(40)]
    columns = {f"c{number}": column(rng, len(names)) for number in range(rng.randint(1, 4))}
    spoiled = rng.choice(["", "", "", "twice", "long", "quote", "latin"])
    text, lines, told = written(rng, root, names, columns, spoiled)
    encoding = "latin-1" if spoiled == "latin" else rng.choice(["utf-8", "utf-8-sig", "utf-16"])
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding, errors="replace"))
    asked = Asked(
        tuple(name for name, one in columns.items() if one.asked == "numbers"),
        tuple(name for name, one in columns.items() if one.asked == "categories"),
    )
    refusals = [told] if told else []  # any of them may be the first that is told
    for name, one in columns.items():
        if one.wrong and not told:
            shown = sorted(lines[row] for row in one.wrong)[:3] if one.cells else []
            refusals.append([f"column {name}", *(f"line {line}" for line in shown)])
    try:
        made = read_attributes(path, root, [f"{root}/{name}" for name in names], asked)
    except UserError as error:
        if any(all(word in str(error) for word in words) for words in refusals):
            return None
        return f"{spoiled}: {error}; expected {refusals}"
    if refusals:
        return f"{spoiled}: was read; expected {refusals}"
    for name, one in columns.items():
        if one.meant == DOUBT:
            if name not in made.doubts:
                return f"{name} was not asked about: {one.cells}"
            continue
        if name in made.doubts:
            return f"{name} was asked about ({made.doubts[name]}): {one.cells}"
        found = made.columns[name].tolist()
        if name in made.value_names:
            known = made.value_names[name]
            found = [None if code < 0 else known[code] for code in found]
            wanted = one.meant
            same = found == wanted and list(known) == ordered(wanted)
        else:
            same = all(
                math.isnan(got) if want is None else not isinstance(want, str)
                and math.isclose(got, want, rel_tol=1e-6) for got, want in
                zip(found, one.meant, strict=True)
            )  # fmt: skip
        if not same:
            return f"{name}: {one.cells} was read as {found}, expected {one.meant}"
    return None


def ordered(meant: Any) -> list[str]:
    """The names of the classes: by value where all are numbers, else by the alphabet."""
    names = {name for name in meant if name is not None}
    with suppress(ValueError):
        if all(set(name) <= set("+-.0123456789") for name in names):
            return sorted(names, key=float)
    return sorted(names)


def column(rng: random.Random, n: int) -> Column:
    """A random column of n cells."""
    kind = rng.choice(["measure", "measure", "whole", "codes", "flag", "words", "spoiled", "empty"])
    holes = [rng.random() < rng.choice([0, 0, 0.3]) for _ in range(n)]
    if kind == "empty":
        asked = rng.choice([None, None, "numbers"])
        wrong = tuple(range(n)) if asked else ()
        return Column([] if asked else [rng.choice(MISSING) for _ in range(n)], DOUBT, asked, wrong)
    if kind == "flag":
        pair = rng.choice(FLAGS)
        names = [name.removesuffix(".0") for name in pair]
        picks = [0, 1, *(rng.randrange(2) for _ in range(n - 2))]
        return filled(rng, [pair[p] for p in picks], [names[p] for p in picks], holes)
    if kind == "words":
        some = rng.sample(WORDS, rng.randint(2, 6))
        picks = [*some, *(rng.choice(some) for _ in range(n - len(some)))]
        return filled(rng, picks, picks, holes)
    if kind == "codes":
        values = [0, 1, 2, *(rng.randrange(20) for _ in range(n - 3))]
        cells = [rng.choice([str(value), f"0{value}", f" {value} "]) for value in values]
        return filled(rng, cells, [str(value) for value in values], holes)
    asked = rng.choice([None, "numbers", "numbers", "categories"])
    if kind == "whole":
        low = rng.choice([-30, 20, 1990, 10_000])
        whole = [low, low + 1, low + 2, *(rng.randrange(low, low + 99) for _ in range(n - 3))]
        point = rng.random() < 0.3
        cells = [f"{value}.0" if point else str(value) for value in whole]
        if asked is None:
            return filled(rng, cells, DOUBT, holes)
        meant = list(map(float if asked == "numbers" else str, whole))
        return filled(rng, cells, meant, holes, asked)
    numbers = [0.5, 1.25, -2.75, *(round(rng.uniform(-90, 90), 3) for _ in range(n - 3))]
    comma = rng.random() < 0.3
    cells = [f"{value:.3f}" if rng.random() < 0.3 else repr(value) for value in numbers]
    if comma:
        cells = [cell.replace(".", ",") for cell in cells]
    if kind == "measure":
        asked = rng.choice([None, "numbers"])
        return filled(rng, cells, numbers, holes, asked)
    bad = sorted(rng.sample(range(3, n), rng.randint(1, 5)))
    for row in bad:
        cells[row] = rng.choice(NO_NUMBERS)
    holes = [hole and row not in bad for row, hole in enumerate(holes)]
    if comma:  # with a cell that is no number, what a comma means is not certain either
        return filled(rng, cells, DOUBT, holes, None)
    if asked == "numbers":
        return replace(filled(rng, cells, DOUBT, holes, asked), wrong=tuple(bad))
    return filled(rng, cells, cells if asked else DOUBT, holes, asked)


def filled(
    rng: random.Random,
    cells: list[str],
    meant: Any,
    holes: list[bool],
    asked: str | None = None,
) -> Column:
    """With missing cells; the first three stay, so that there are values enough."""
    holes = [hole and row > 5 for row, hole in enumerate(holes)]
    written = [
        rng.choice(MISSING) if hole else cell for cell, hole in zip(cells, holes, strict=True)
    ]
    if meant != DOUBT:
        meant = [None if hole else value for value, hole in zip(meant, holes, strict=True)]
    return Column(written, meant, asked)


def written(
    rng: random.Random, root: Path, names: list[str], columns: dict[str, Column], spoiled: str
) -> tuple[str, dict[int, int], list[str] | None]:
    """The table, the line of each row, and what must be told of it if it is spoiled."""
    separator, end = rng.choice([",", ";", "\t", "|"]), rng.choice(["\n", "\r\n"])
    heads = [*columns, "file", "note"]
    rng.shuffle(heads)
    out, lines, told = io.StringIO(newline=""), {}, None
    plain, quoted = (
        csv.writer(out, delimiter=separator, lineterminator=end, quoting=quoting)
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    plain.writerow(heads)
    order = list(range(len(names)))
    rng.shuffle(order)
    order.insert(rng.randrange(len(order)), -1)  # a line of another image
    victim = rng.choice(order[5:])
    for position, row in enumerate(order):
        line = out.getvalue().count("\n") + 1
        lines[row] = line
        cells = {name: one.cells[row] if one.cells else "" for name, one in columns.items()}
        cells["file"] = spelled(rng, root, names[row]) if row >= 0 else "elsewhere/1.png"
        cells["note"] = rng.choice(["", "fine", "two\nlines", "a longer note"])
        values = [cells[head] for head in heads]
        if row == victim and spoiled == "long":
            values, told = [*values, "more"], [f"line {line}", "cells, expected"]
        if row == victim and spoiled == "latin":
            cells["note"] = "Málaga"
            values = [cells[head] for head in heads]
        rng.choice([plain, quoted]).writerow(values)
        if row == victim and spoiled == "quote":
            out.write(f'"{separator}open{end}')
            told = [f"line {out.getvalue().count(chr(10))}", "quotation mark"]
            break
        if rng.random() < 0.1:
            plain.writerow([]) if rng.random() < 0.5 else out.write(end)
        if row == victim and row >= 0 and spoiled == "twice" and position:
            again = out.getvalue().count("\n") + 1
            cells["note"] += "!"
            quoted.writerow([cells[head] for head in heads])
            told = [f"lines {line} and {again}"]
    text = out.getvalue()
    if spoiled == "latin":
        first = next(place for place, letter in enumerate(text) if "\x7f" < letter < "\u0100")
        told = [f"line {text[:first].count(chr(10)) + 1}", "UTF-8"]
    return text, lines, told


def spelled(rng: random.Random, root: Path, name: str) -> str:
    """A file's name in a table, in one of the ways in which programs write it."""
    return rng.choice([name, name, f"./{name}", name.replace("/", "\\"), f"{root}/{name}"])
