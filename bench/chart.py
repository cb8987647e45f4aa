"""A chart as SVG: two logarithmic axes, a line for each series. Pure."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, TOP = 420, 280, 64, 36
COLOURS = ("#1f6feb", "#d1571b", "#2da44e", "#8250df")


class Series(NamedTuple):
    """A line: its name and its points, all positive."""

    name: str
    points: Sequence[tuple[float, float]]


def short(number: float) -> str:
    """Return the label of a number on an axis."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


class Scale:
    """A logarithmic axis, which maps values to pixels. Its marks are powers of ten, or also their halves."""

    def __init__(self, values: Sequence[float], pixels: float) -> None:
        self.low, self.high = floor(log10(min(values)) * 2) / 2, ceil(log10(max(values)) * 2) / 2
        self.high = max(self.high, self.low + 0.5)
        self.pixels = pixels

    def place(self, value: float) -> float:
        """Return the distance from the start in pixels."""
        return (log10(value) - self.low) / (self.high - self.low) * self.pixels

    def ticks(self) -> list[float]:
        """Return the values to mark."""
        exponents = range(floor(self.low), ceil(self.high) + 1)
        marks = [factor * 10.0**exponent for exponent in exponents for factor in (1, 3)]
        return [mark for mark in marks if self.low - 1e-9 <= log10(mark) <= self.high + 1e-9]


def panel(title: str, x_name: str, series: Sequence[Series], left: float) -> str:
    """Return one pair of axes with its lines."""
    points = [point for each in series for point in each.points]
    across, up = Scale([x for x, _ in points], WIDTH), Scale([y for _, y in points], HEIGHT)
    bottom = TOP + HEIGHT
    parts = [f'<text x="{left}" y="{TOP - 12}" font-weight="bold">{escape(title)}</text>']
    for mark in up.ticks():
        y = bottom - up.place(mark)
        parts.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{short(mark)}</text>')
    for mark in sorted({x for x, _ in points}):
        x = left + across.place(mark)
        parts.append(f'<path d="M{x:.1f} {bottom}v4" stroke="#57606a"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{short(mark)}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_name)}</text>')
    for number, each in enumerate(series):
        places = [(left + across.place(x), bottom - up.place(y)) for x, y in each.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{left + 10}" y="{TOP + 16 + 16 * number}" fill="{colour}">{escape(each.name)}</text>')
    return "\n".join(parts)


def chart(title: str, x_name: str, panels: Sequence[tuple[str, Sequence[Series]]]) -> str:
    """Return an SVG with panels side by side, over the same values of x."""
    step = WIDTH + LEFT + 24
    width, height = step * len(panels), TOP + HEIGHT + 56
    drawn = "\n".join(panel(name, x_name, series, LEFT + step * at) for at, (name, series) in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="12">\n'
        f'<title>{escape(title)}</title>\n<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n'
    )
