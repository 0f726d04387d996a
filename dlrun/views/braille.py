"""Curves in a terminal: each character is two by four dots."""

from collections.abc import Callable, Sequence

from rich.console import Console

from dlrun.runs.curves import Curve

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column
_BLANK = 0x2800
COLOURS = (36, 33, 35, 32, 31, 34)  # ANSI


class Canvas:
    """`width` by `height` characters; dots that share a character have the colour of the last."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.dots = [[0] * width for _ in range(height)]
        self.colours: list[list[int | None]] = [[None] * width for _ in range(height)]
        self.letters: dict[tuple[int, int], str] = {}

    def dot(self, x: int, y: int, colour: int) -> None:
        """Sets one dot; (0, 0) is the upper left, and dots outside are left out."""
        column, row = x // 2, y // 4
        if 0 <= column < self.width and 0 <= row < self.height:
            self.dots[row][column] |= _DOTS[y % 4][x % 2]
            self.colours[row][column] = colour

    def letter(self, x: int, y: int, text: str, colour: int) -> None:
        """One character instead of the dots around a dot."""
        self.dot(x, y, colour)
        self.letters[y // 4, x // 2] = text

    def line(
        self, start: tuple[int, int], end: tuple[int, int], colour: int, every: int = 1
    ) -> None:
        """Dots from one to the other; where `every` is above 1, a dotted line."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for i in range(0, steps + 1, every):
            x = start[0] + (end[0] - start[0]) * i / steps
            y = start[1] + (end[1] - start[1]) * i / steps
            self.dot(round(x), round(y), colour)

    def rows(self, coloured: bool) -> list[str]:
        """The lines of text."""
        return [
            "".join(
                _painted(
                    self.letters.get((row, column), chr(_BLANK | self.dots[row][column])),
                    self.colours[row][column] if coloured else None,
                )
                for column in range(self.width)
            )
            for row in range(self.height)
        ]


def _painted(text: str, colour: int | None) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def print_curves(
    curves: Sequence[Curve], title: str, over: str, height: int, console: Console
) -> None:
    """As wide as the terminal, at most 100 characters."""
    coloured = console.is_terminal and console.color_system is not None
    for line in draw(curves, title, over, min(console.width, 100), height, coloured):
        print(line)


def draw(
    curves: Sequence[Curve], title: str, over: str, width: int, height: int, coloured: bool
) -> list[str]:
    """The plot with its axes and a legend, at most `width` characters wide."""
    xs = [x for curve in curves for x in curve.x(over)]
    ys = [y for curve in curves for y in (*curve.band(-1), *curve.band(1))]
    left, right = min(xs), max(xs)
    bottom, top = min(ys), max(ys)
    if top == bottom:  # a flat line is drawn in the middle
        top, bottom = top + (abs(top) or 1.0) / 2, bottom - (abs(bottom) or 1.0) / 2
    marks = {0: f"{top:.4g}", height // 2: f"{(top + bottom) / 2:.4g}", height - 1: f"{bottom:.4g}"}
    margin = max(map(len, marks.values()))
    canvas = Canvas(max(10, width - margin - 2), height)

    def dot(x: float, y: float) -> tuple[int, int]:
        across = (x - left) / (right - left) if right > left else 0.5
        down = (top - y) / (top - bottom)
        return round(across * (2 * canvas.width - 1)), round(down * (4 * height - 1))

    for i, curve in enumerate(curves):
        _draw_one(canvas, curve, over, dot, COLOURS[i % len(COLOURS)])
    plot = canvas.rows(coloured)
    lines = [title, *(f"{marks.get(i, ''):>{margin}} ┤{row}" for i, row in enumerate(plot))]
    ends = f"{left:.4g}", f"{right:.4g} {over}"
    gap = max(1, canvas.width - sum(map(len, ends)))
    lines += [" " * margin + " └" + "─" * canvas.width, " " * (margin + 2) + (" " * gap).join(ends)]
    for i, curve in enumerate(curves):
        mark = _painted("━━", COLOURS[i % len(COLOURS)] if coloured else None)
        lines.append(f"{mark} {curve.label}: last {curve.mean[-1]:.4g}")
    return lines


def _draw_one(
    canvas: Canvas,
    curve: Curve,
    over: str,
    dot: Callable[[float, float], tuple[int, int]],
    colour: int,
) -> None:
    """The mean as a line with the curve's letter at its end, the band as dotted edges."""
    lines = [(curve.mean, 1)]
    if curve.n > 1:
        lines = [(curve.band(-1), 4), (curve.band(1), 4), *lines]
    for values, every in lines:
        points = [dot(x, y) for x, y in zip(curve.x(over), values, strict=True)]
        for start, end in zip(points, points[1:] or points, strict=False):
            canvas.line(start, end, colour, every)
    canvas.letter(*points[-1], curve.label[0], colour)
