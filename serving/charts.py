"""Numbers -> charts as inline SVG, in the colours of the page that they stand in.

Every chart has a title and a description for a screen reader, scales with its column, and takes its colours from the
page's variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import itertools
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH: Final = 460
"""Of every chart, in its own units; one unit is about a pixel on a phone."""

_numbers = itertools.count(1)


def svg(title: str, description: str, height: float, shapes: Iterable[str]) -> str:
    """Put shapes into a drawing that says what it is.

    Args:
        title: What it shows, in a few words.
        description: Its content in a sentence, for who cannot see it.
        height: In the units of ``WIDTH``.
        shapes: SVG elements.
    """
    name = f"chart{next(_numbers)}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-labelledby="{name}t {name}d">'
        f'<title id="{name}t">{escape(title)}</title><desc id="{name}d">{escape(description)}</desc>'
        f"{''.join(shapes)}</svg>"
    )


def bars(title: str, values: Mapping[str, float], *, unit: str = "", reds: frozenset[str] = frozenset()) -> str:
    """Draw a horizontal bar for each name.

    Args:
        title: What it shows.
        values: Name -> length, 0 or more; ``unit`` "%" takes shares from 0 to 1.
        unit: "%" or nothing.
        reds: Names whose bars are drawn as bad news.
    """
    largest = 1.0 if unit == "%" else max([*values.values(), 1e-9])
    left, room, step = 128, WIDTH - 128 - 62, 22
    shapes: list[str] = []
    for row, (name, value) in enumerate(values.items()):
        y = row * step
        text = f"{value:.1%}" if unit == "%" else f"{value:,.0f}"
        shapes += [
            written(left - 8, y + 15, name, anchor="end"),
            rect((left, y + 3, max(1.0, room * value / largest), step - 6), "bad" if name in reds else "one"),
            written(left + room * value / largest + 6, y + 15, text, kind="soft"),
        ]
    words = ", ".join(
        f"{name} {value:.1%}" if unit == "%" else f"{name} {value:,.0f}" for name, value in values.items()
    )
    return svg(title, words, step * len(values) + 2, shapes)


def lines(title: str, series: Mapping[str, Sequence[float]], *, share: bool, mark: int | None = None) -> str:
    """Draw a line for each name over the epochs, from 1.

    Args:
        title: What it shows.
        series: Name -> a value an epoch; at most three names.
        share: Whether the values are shares from 0 to 1; else the scale begins at 0 and ends above the largest.
        mark: Epoch to point out.
    """
    epochs = max(len(values) for values in series.values())
    every = sorted(value for values in series.values() for value in values)
    # One wild epoch must not flatten all others: what is above four times the median runs along the upper edge.
    top = 1.0 if share else 1.05 * max(1e-9, min(every[-1], 4 * every[len(every) // 2]))
    left, right, upper, lower = 44, 112, 10, 226
    wide = WIDTH - left - right

    def at(epoch: int, value: float) -> tuple[float, float]:
        x = left + wide * (epoch - 1) / max(1, epochs - 1)
        return x, lower - (lower - upper) * min(value, top) / top

    shapes: list[str] = []
    for tick in range(5):
        value = top * tick / 4
        y = at(1, value)[1]
        shapes.append(f'<line x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}" class="rule"/>')
        shapes.append(written(left - 6, y + 4, f"{value:.0%}" if share else f"{value:.1f}", anchor="end", kind="soft"))
    shapes += [
        written(at(epoch, 0)[0], lower + 18, str(epoch), anchor="middle", kind="soft")
        for epoch in sorted({1, (epochs + 1) // 2, epochs})
    ]
    shapes.append(written(left + wide / 2, lower + 34, "epoch", anchor="middle", kind="soft"))
    if mark:
        x = at(mark, 0)[0]
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{upper}" y2="{lower}" class="mark"/>')
        shapes.append(written(x, lower + 34, "kept", anchor="middle"))
    ends: list[float] = []
    for (name, values), kind in zip(series.items(), ("one", "two", "three"), strict=False):
        points = " ".join("{:.1f},{:.1f}".format(*at(index + 1, value)) for index, value in enumerate(values))
        x, y = at(len(values), values[-1])
        label = y
        while any(abs(label - other) < 15 for other in ends):  # noqa: PLR2004 - a line of text
            label += 15
        ends.append(label)
        shapes.append(
            f'<polyline points="{points}" class="line {kind}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{kind}"/>'
        )
        shapes.append(
            written(
                x + 8, label + 4, f"{name} {values[-1]:.0%}" if share else f"{name} {values[-1]:.2f}", kind=f"t{kind}"
            )
        )
    words = "; ".join(f"{name} from {values[0]:.3f} to {values[-1]:.3f}" for name, values in series.items())
    return svg(title, f"{words}, over {epochs} epochs", lower + 42, shapes)


def heat_map(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: a row a true label, a column a predicted one, dark where much of the row is.

    Args:
        title: What it shows.
        labels: Names in the order of the rows and the columns.
        counts: Posters by [true][predicted].
    """
    left, upper, right = 96, 86, 34
    cell = (WIDTH - left - right) / len(labels)
    high = min(cell, 44.0)
    shapes: list[str] = []
    for column, name in enumerate(labels):
        x = left + (column + 0.5) * cell
        shapes.append(
            f'<text x="{x:.1f}" y="{upper - 8}" transform="rotate(-40 {x:.1f} {upper - 8})" class="ink">'
            f"{escape(name)}</text>"
        )
    for row, (name, across) in enumerate(zip(labels, counts, strict=True)):
        y = upper + row * high
        shapes.append(written(left - 8, y + high / 2 + 4, name, anchor="end"))
        for column, count in enumerate(across):
            share = count / max(1, sum(across))
            x = left + column * cell
            kind = "one" if row == column else "two"
            shapes.append(rect((x, y, cell - 1, high - 1), "cell"))
            shapes.append(rect((x, y, cell - 1, high - 1), kind, opacity=share))
            if count:
                text = "on" if share > 0.55 else "ink"  # noqa: PLR2004 - where the cell is darker than its text
                shapes.append(written(x + cell / 2, y + high / 2 + 4, str(count), anchor="middle", kind=text))
    hits = sum(across[row] for row, across in enumerate(counts))
    total = sum(sum(across) for across in counts)
    words = f"{hits} of {total} posters on the diagonal; rows are the true label, columns the predicted one"
    return svg(title, words, upper + high * len(labels) + 4, shapes)


def histogram(title: str, counts: Sequence[int]) -> str:
    """Draw how many values fall into each of equal parts of 0 to 1."""
    left, upper, lower = 20, 18, 170
    wide = (WIDTH - 2 * left) / len(counts)
    largest = max([*counts, 1])
    shapes = [f'<line x1="{left}" x2="{WIDTH - left}" y1="{lower}" y2="{lower}" class="rule"/>']
    for index, count in enumerate(counts):
        high = (lower - upper) * count / largest
        x = left + index * wide
        shapes.append(rect((x + 1, lower - high, wide - 2, high), "one"))
        if count:
            shapes.append(written(x + wide / 2, lower - high - 4, f"{count:,}", anchor="middle", kind="soft small"))
    shapes += [
        written(left + tick * wide, lower + 16, f"{tick / len(counts):.0%}", anchor="middle", kind="soft")
        for tick in range(0, len(counts) + 1, max(1, len(counts) // 5))
    ]
    words = ", ".join(f"{index / len(counts):.0%} and up: {count:,}" for index, count in enumerate(counts))
    return svg(title, words, lower + 24, shapes)


def written(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "ink") -> str:
    """Put text at a place, in the units of ``WIDTH``; ``kind`` is a class of the page's style."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'


def rect(box: tuple[float, float, float, float], kind: str, *, opacity: float = 1.0) -> str:
    """Draw a rectangle, (x, y, width, height)."""
    x, y, width, height = box
    faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{kind}"{faint}/>'
