"""Named values -> bars, points or lines as SVG, readable on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_PX: Final = 250
BARS_PX: Final = 470
VALUE_PX: Final = 90
ROW_PX: Final = 22
PLOT_PX: Final = (300, 560)
"""Height and width of the field that points lie in."""
MARGIN_PX: Final = 80
TOP_PX: Final = 64
TICKS: Final = 5
CROWDED_PX: Final = (26, 90)
"""A point that lies so near below another has its label below."""
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.axis { stroke: #8c959f } .grid { stroke: #d1d9e0 } .whisker { stroke: #0969da; stroke-width: 1.5 }
.roof { stroke: #9a6700; stroke-dasharray: 4 3 }
.bar { fill: #8c959f } .ours { fill: #0969da } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #58a6ff } .page { fill: #0d1117 }
  .grid { stroke: #30363d } .whisker { stroke: #58a6ff } .roof { stroke: #d29922 }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One value of a group."""

    label: str
    value: float
    ours: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Bars with one scale, and a roof that none can pass."""

    title: str
    bars: Sequence[Bar]
    roof: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One place in a plane, with an interval upwards and downwards."""

    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    ours: bool = True


def draw_bars(groups: Sequence[Group]) -> str:
    """Draw groups below each other.

    Example:
        >>> draw_bars([Group(title="posters/s", bars=[Bar(label="keyart", value=10_000, ours=True)])])[:4]
        '<svg'
    """
    parts: list[str] = []
    y = 10
    for group in groups:
        top = max([bar.value for bar in group.bars] + [group.roof or 0]) or 1
        parts.append(f'<text class="title" x="8" y="{y + 15}">{escape(group.title)}</text>')
        y += ROW_PX + 4
        start = y
        for bar in group.bars:
            width = bar.value / top * BARS_PX
            kind = "ours" if bar.ours else "bar"
            parts.append(
                f'<text x="{LABEL_PX - 8}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>'
                f'<rect class="{kind}" x="{LABEL_PX}" y="{y + 3}" width="{width:.1f}" height="{ROW_PX - 7}"/>'
                f'<text x="{LABEL_PX + width + 6:.1f}" y="{y + 14}">{_shown(bar.value)}</text>'
            )
            y += ROW_PX
        if group.roof:
            x = LABEL_PX + group.roof / top * BARS_PX
            parts.append(f'<line class="roof" x1="{x:.1f}" x2="{x:.1f}" y1="{start}" y2="{y}"/>')
        y += 16
    return _page(LABEL_PX + BARS_PX + VALUE_PX, y, parts)


def draw_points(title: str, x_title: str, y_title: str, points: Sequence[Point], *, joined: bool = False) -> str:
    """Draw points with their intervals.

    Args:
        title: Above.
        x_title: What goes to the right, with its unit.
        y_title: What goes up, with its unit.
        points: One at least.
        joined: Whether a line runs through them in their order.

    Example:
        >>> draw_points("cost", "us", "%", [Point(label="resize", x=96.0, y=84.6, low=83.0, high=86.1)])[:4]
        '<svg'
    """
    height, width = PLOT_PX
    left, bottom = MARGIN_PX, TOP_PX + height
    xs = _span([point.x for point in points])
    ys = _span([v for point in points for v in (point.y, point.low, point.high) if v is not None])

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (x - xs[0]) / (xs[1] - xs[0]) * width, bottom - (y - ys[0]) / (ys[1] - ys[0]) * height

    parts = [f'<text class="title" x="8" y="22">{escape(title)}</text>']
    parts += [f'<text x="8" y="42">{escape(y_title)}</text>']
    parts += [f'<text x="{left + width / 2}" y="{bottom + 42}" text-anchor="middle">{escape(x_title)}</text>']
    for step in range(TICKS + 1):
        x_value, y_value = (low + (high - low) * step / TICKS for low, high in (xs, ys))
        x, y = place(x_value, y_value)
        parts.append(
            f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{_shown(y_value)}</text>'
            f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{_shown(x_value)}</text>'
        )
    parts.append(f'<line class="axis" x1="{left}" x2="{left + width}" y1="{bottom}" y2="{bottom}"/>')
    places = [place(point.x, point.y) for point in points]
    if joined:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="whisker" fill="none" points="{path}"/>')
    for index, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        if point.low is not None and point.high is not None:
            ends = [place(point.x, value)[1] for value in (point.low, point.high)]
            parts.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>')
        kind = "ours" if point.ours else "bar"
        parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
        crowded = any(abs(x - ox) < CROWDED_PX[1] and 0 <= y - oy < CROWDED_PX[0] for ox, oy in places[:index])
        parts.append(f'<text x="{x + 9:.1f}" y="{y + (18 if crowded else -8):.1f}">{escape(point.label)}</text>')
    return _page(left + width + 130, bottom + 56, parts)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits say enough


def _page(width: float, height: float, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return f'{head}<style>{STYLE}</style><rect class="page" width="{width}" height="{height}"/>{"".join(parts)}</svg>\n'
