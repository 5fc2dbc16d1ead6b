"""A study's numbers -> charts as inline SVG, beside those of ``serving.charts``."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from serving.charts import WIDTH, rect, svg, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from training.statistics import Interval

_LEFT: Final = 190
_RIGHT: Final = 20
_STEP: Final = 22


def intervals(title: str, values: Mapping[str, Interval], marks: Mapping[str, float] | None = None) -> str:
    """Draw each name's estimate as a point on its interval.

    Args:
        title: What it shows.
        values: Name -> share, with its interval.
        marks: Name -> what somebody else found, as a hollow mark in the same line.
    """
    marks = marks or {}
    ends = [end for one in values.values() for end in (one.low, one.high)] + list(marks.values())
    low, high = math.floor(20 * min(ends)) / 20, math.ceil(20 * max(ends)) / 20
    high = high if high > low else low + 0.05
    room = WIDTH - _LEFT - _RIGHT

    def at(value: float) -> float:
        return _LEFT + room * (value - low) / (high - low)

    lower = _STEP * len(values) + 6
    shapes: list[str] = []
    for tick in range(5):
        value = low + (high - low) * tick / 4
        shapes.append(f'<line x1="{at(value):.1f}" x2="{at(value):.1f}" y1="0" y2="{lower}" class="rule"/>')
        shapes.append(written(at(value), lower + 16, f"{value:.1%}", anchor="middle", kind="soft"))
    for row, (name, one) in enumerate(values.items()):
        y = row * _STEP + _STEP / 2 + 3
        shapes.append(written(_LEFT - 8, y + 4, name, anchor="end"))
        shapes.append(f'<line x1="{at(one.low):.1f}" x2="{at(one.high):.1f}" y1="{y}" y2="{y}" class="line one"/>')
        shapes.append(f'<circle cx="{at(one.estimate):.1f}" cy="{y}" r="4" class="one"/>')
        if name in marks:
            x = at(marks[name])
            shapes.append(f'<path d="M{x - 5:.1f} {y}l5 -5l5 5l-5 5z" fill="none" class="line two"/>')
    told = ", ".join(f"{name} {one.estimate:.1%} ({one.low:.1%} to {one.high:.1%})" for name, one in values.items())
    return svg(title, told, lower + 24, shapes)


def reliability(title: str, parts: Sequence[tuple[float, float, int]]) -> str:
    """Draw how often answers of each confidence come true; on the diagonal a model knows what it knows.

    Args:
        title: What it shows.
        parts: Mean confidence, share that came true, and answers of each part of confidence.
    """
    left, upper, side = 44, 8, 250
    largest = max((count for _, _, count in parts), default=1) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        return left + side * x, upper + side * (1 - y)

    shapes = [
        f'<line x1="{left}" y1="{upper + side}" x2="{left + side}" y2="{upper}" class="mark"/>',
        f'<line x1="{left}" y1="{upper + side}" x2="{left + side}" y2="{upper + side}" class="rule"/>',
        f'<line x1="{left}" y1="{upper}" x2="{left}" y2="{upper + side}" class="rule"/>',
    ]
    for tick in range(0, 101, 25):
        x, y = at(tick / 100, tick / 100)
        shapes.append(written(x, upper + side + 16, f"{tick}%", anchor="middle", kind="soft"))
        shapes.append(written(left - 6, y + 4, f"{tick}%", anchor="end", kind="soft"))
    for sure, true, count in parts:
        if count:
            x, y = at(sure, true)
            radius = 2 + 7 * math.sqrt(count / largest)
            shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="one" fill-opacity="0.75"/>')
    shapes.append(written(left + side / 2, upper + side + 32, "confidence", anchor="middle", kind="soft"))
    shapes.append(written(left + side + 10, upper + side / 2, "came true", kind="soft"))
    told = "; ".join(f"of {count} answers at {sure:.0%}, {true:.0%} came true" for sure, true, count in parts if count)
    return svg(title, told, upper + side + 38, shapes)


def scatter(title: str, points: Mapping[str, tuple[float, float]], *, across: str, up: str) -> str:
    """Draw points with their names; ``up`` is a share.

    Args:
        title: What it shows.
        points: Name -> (across, up).
        across: What is drawn to the right, from 0.
        up: What is drawn upwards.
    """
    left, upper, lower, room = 50, 10, 220, WIDTH - 50 - 130
    widest = 1.1 * max(x for x, _ in points.values())
    low = math.floor(20 * min(y for _, y in points.values())) / 20
    high = max(low + 0.05, math.ceil(20 * max(y for _, y in points.values())) / 20)
    shapes = [rect((left, upper, room, lower - upper), "cell", opacity=0.3)]
    for tick in range(5):
        y = lower - (lower - upper) * tick / 4
        shapes.append(written(left - 6, y + 4, f"{low + (high - low) * tick / 4:.0%}", anchor="end", kind="soft"))
        x = left + room * tick / 4
        shapes.append(written(x, lower + 16, f"{widest * tick / 4:.3g}", anchor="middle", kind="soft"))
    taken: list[float] = []
    for name, (x, y) in sorted(points.items(), key=lambda point: -point[1][1]):
        at_x, at_y = left + room * x / widest, lower - (lower - upper) * (y - low) / (high - low)
        label = at_y
        while any(abs(label - other) < 13 for other in taken):  # noqa: PLR2004 - a line of text
            label += 13
        taken.append(label)
        shapes.append(f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="4" class="one"/>')
        shapes.append(f'<line x1="{at_x:.1f}" y1="{at_y:.1f}" x2="{at_x + 8:.1f}" y2="{label:.1f}" class="rule"/>')
        shapes.append(written(at_x + 10, label + 4, name))
    shapes.append(written(left + room / 2, lower + 34, across, anchor="middle", kind="soft"))
    told = "; ".join(f"{name}: {x:.3g} {across}, {up} {y:.1%}" for name, (x, y) in points.items())
    return svg(title, told, lower + 42, shapes)
