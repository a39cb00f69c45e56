"""Plots as inline SVG: lines over a linear, logarithmic or named axis, all values from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 700, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 245, 16, 46
# On light and on dark paper.
COLORS = (
    ("#2f6fb4", "#6aaef0"),
    ("#c8553d", "#f08a72"),
    ("#3a8f5c", "#68c48c"),
    ("#8a5ab0", "#be93e6"),
    ("#a37d1f", "#dcb95a"),
    ("#5a6a7a", "#a3b3c2"),
)


@dataclass(frozen=True)
class Series:
    """One line: its name and points, x and y."""

    name: str
    points: Sequence[tuple[float, float]]


def style() -> str:
    """Rules for what :func:`lines` draws; ``--ink``, ``--soft``, ``--line`` are the page's."""
    light = "".join(f"svg .s{at}{{--c:{pair[0]}}}" for at, pair in enumerate(COLORS))
    dark = "".join(f"svg .s{at}{{--c:{pair[1]}}}" for at, pair in enumerate(COLORS))
    return (
        "svg text{fill:var(--soft);font:12px system-ui,sans-serif}svg .key{fill:var(--ink)}"
        "svg polyline,svg line{stroke:var(--c);stroke-width:2;fill:none}"
        "svg circle{fill:var(--c)}svg .grid{stroke:var(--line);stroke-width:1}"
        f"{light}@media(prefers-color-scheme:dark){{{dark}}}"
    )


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    logarithmic: bool = False,
) -> str:
    """A line plot; y runs from 0 to 1.

    Args:
        logarithmic: for x, which is then greater than 0.
    """
    drawn = [each for each in series if each.points]
    marks = sorted({x for each in drawn for x, _ in each.points})
    if not marks:
        return ""
    plot_width, plot_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def place(x: float) -> float:
        low, high, at = marks[0], marks[-1], x
        if logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(x)
        share = 0.5 if high == low else (at - low) / (high - low)
        return _LEFT + plot_width * share

    def height(y: float) -> float:
        return _TOP + plot_height * (1.0 - min(max(y, 0.0), 1.0))

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title, quote=True)}">'
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = height(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + plot_width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    last = -math.inf
    for mark in marks:
        x = place(mark)
        if x - last < 26:
            continue
        last = x
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{_TOP + plot_height + 16}" '
            f'text-anchor="middle">{mark:g}</text>'
        )
    parts.append(
        f'<text class="axis" x="{_LEFT + plot_width / 2:.1f}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x_label)}</text>'
        f'<text class="axis" transform="translate(12 {_TOP + plot_height / 2:.1f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for index, each in enumerate(drawn):
        color = f' class="s{index % len(COLORS)}"'
        dashes = "" if index < len(COLORS) else ' stroke-dasharray="5 3"'
        points = [(place(x), height(y)) for x, y in each.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline{color}{dashes} points="{path}"/>')
        for (x, y), (raw_x, raw_y) in zip(points, each.points, strict=True):
            parts.append(
                f'<circle{color} cx="{x:.1f}" cy="{y:.1f}" r="3"><title>'
                f"{escape(each.name)}: {raw_x:g} → {raw_y:.3f}</title></circle>"
            )
        row = _TOP + 12 + 18 * index
        side = _LEFT + plot_width + 14
        parts.append(
            f'<line{color}{dashes} x1="{side}" x2="{side + 18}" '
            f'y1="{row - 4}" y2="{row - 4}"/>'
            f'<text class="key" x="{side + 24}" y="{row}">{escape(each.name)}</text>'
        )
    parts.append("</svg>")
    return "".join(parts)
