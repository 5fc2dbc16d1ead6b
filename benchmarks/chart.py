"""Groups of named values -> a horizontal bar chart as SVG, readable on light and on dark pages."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL_PX: Final = 230
BARS_PX: Final = 480
VALUE_PX: Final = 90
ROW_PX: Final = 22
STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.roof { stroke: #9a6700; stroke-dasharray: 4 3 }
.bar { fill: #8c959f } .ours { fill: #0969da } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #58a6ff } .page { fill: #0d1117 }
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
                f'<text x="{LABEL_PX + width + 6:.1f}" y="{y + 14}">{bar.value:,.0f}</text>'
            )
            y += ROW_PX
        if group.roof:
            x = LABEL_PX + group.roof / top * BARS_PX
            parts.append(f'<line class="roof" x1="{x:.1f}" x2="{x:.1f}" y1="{start}" y2="{y}"/>')
        y += 16
    width = LABEL_PX + BARS_PX + VALUE_PX
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}" role="img">'
    return f'{head}<style>{STYLE}</style><rect class="page" width="{width}" height="{y}"/>{"".join(parts)}</svg>\n'
