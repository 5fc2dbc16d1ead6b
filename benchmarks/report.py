"""A result -> Markdown and SVG beside its JSON and Parquet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.chart import Bar, Group, draw_bars
from benchmarks.findings import Findings, Role, Row, Table, figures
from benchmarks.result import Result, median_rate, write_data

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

NOTES: Final = (
    "*per CPU s*: the same, per second of CPU time of all its threads and processes. *of the roof*: of the most that "
    "this machine could do, in the same rounds. *keyart is faster by*: the median of the rounds' ratios with its 95 % "
    "bootstrap interval. *spread*: half the range between the quartiles of the rounds."
)


def write(result: Result, folder: Path) -> list[Path]:
    """Write ``{question}.json``, ``.parquet``, ``.md`` and ``.svg`` into ``folder``, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {result.question: draw_bars(_groups(result.findings))} if result.findings.rows else {}
    drawings |= {f"{result.question}-{name}": drawing for name, drawing in result.findings.charts.items()}
    paths = write_data(result, folder)
    for name, drawing in drawings.items():
        paths.append(folder / f"{name}.svg")
        paths[-1].write_text(drawing)
    page = folder / f"{result.question}.md"
    page.write_text(f"# {result.title}\n\n{markdown(result)}")
    return [*paths, page]


def markdown(result: Result, *, pictures: str = "", level: int = 2) -> str:
    """Lay a result out as a page or a part of one.

    Args:
        result: Of one question.
        pictures: Where its drawings lie, seen from the page: ``results/machine/``.
        level: Of its headings.
    """
    found, mark = result.findings, "#" * level
    names = [result.question] * bool(found.rows) + [f"{result.question}-{name}" for name in found.charts]
    parts = [*bullets(found.verdict), f"Why: {result.why}", ""]
    for name in names:
        parts += [f"![{name.replace('-', ', ', 1)}]({pictures}{name}.svg)", ""]
    for title, rows in tables(found):
        parts += [f"{mark} {title}", "", *_table(rows, found), ""]
    for table in found.tables:
        parts += [f"{mark} {table.title}", "", *_plain_table(table), ""]
    parts += [f"{mark} How it was measured", "", *_how(result)]
    return "\n".join(parts) + "\n"


def tables(found: Findings) -> list[tuple[str, list[Row]]]:
    """Divide rows into tables: a table a cell, or with a pivot a table for the cells that differ in nothing else."""
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in found.rows:
        groups.setdefault(tuple((k, v) for k, v in row.cell.items() if k != found.pivot), []).append(row)
    return [(_title(dict(cell), rows[0].unit), rows) for cell, rows in groups.items()]


def _title(cell: dict[str, str], unit: str) -> str:
    place = Row(cell=cell, name="", role=Role.OURS, unit=unit, units=1, laps=()).place
    return f"{place}: {unit} per second"


def _table(rows: Sequence[Row], found: Findings) -> list[str]:
    pivots = list(dict.fromkeys(row.cell.get(found.pivot or "", "") for row in rows))
    extras = list(dict.fromkeys(key for row in rows for key in row.extra))
    rates = pivots if found.pivot else [f"{rows[0].unit} per s"]
    head = ["", *rates, "per CPU s", "of the roof", "keyart is faster by", "spread", "peak MiB", *extras]
    lines = [line(head), line(["---", *["---:"] * (len(head) - 1)])]
    for name in dict.fromkeys(row.name for row in rows):
        own = {row.cell.get(found.pivot or "", ""): row for row in rows if row.name == name}
        first = next(iter(own.values()))
        shown = figures(first, found.rows)
        cells = [
            f"**{name}**" if first.role is Role.OURS else f"*{name}*" if first.role is Role.ROOF else name,
            *(number(median_rate(own[pivot])) if pivot in own else "-" for pivot in pivots),
            number(shown.units_per_cpu_s),
            f"{shown.roof_share.value:.0%}" if shown.roof_share else "-",
            str(shown.ours_is_faster or "-"),
            f"{shown.spread:.1%}",
            number(shown.peak_bytes and shown.peak_bytes / 2**20),
            *(number(first.extra.get(key)) for key in extras),
        ]
        lines.append(line(cells))
    return lines


def _how(result: Result) -> list[str]:
    found, machine = result.findings, result.machine
    state = (
        f"Load {result.load_before:.1f} before and {result.load_after:.1f} after; "
        f"{found.repeated or 'no'} round{'s' if found.repeated != 1 else ''} done again because others were at work."
    )
    busy = [f"Disturbed ({place}): {what}; trust ratios, not rates." for place, what in found.disturbed.items()]
    missing = [f"Not measured: {name} ({reason})." for name, reason in found.missing.items()]
    pivot = f" Columns beyond the rates are for the first {found.pivot}." if found.pivot else ""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
    return [
        f"`{result.command}` on {result.date}, {result.elapsed_s / 60:.1f} minutes, {machine}.",
        "",
        f"{found.inputs}; {result.rounds} shuffled rounds after a warm-up, medians. {found.method} {NOTES}{pivot}",
        "",
        state,
        "",
        *bullets([*busy, *missing]),
        f"Versions: {versions}.",
    ]


def _groups(found: Findings) -> list[Group]:
    groups: list[Group] = []
    for title, rows in tables(found):
        cell = rows[0].cell
        shown = sorted((row for row in rows if row.cell == cell), key=lambda row: -median_rate(row))
        roof = next((median_rate(row) for row in shown if row.role is Role.ROOF), None)
        bars = [Bar(label=row.name, value=median_rate(row), ours=row.role is Role.OURS) for row in shown]
        first = f" ({cell[found.pivot]})" if found.pivot else ""
        groups.append(Group(title=title + first, bars=bars, roof=roof))
    return groups


def _plain_table(table: Table) -> list[str]:
    return [line(table.columns), line(["---"] * len(table.columns)), *(line(row) for row in table.rows)]


def bullets(sentences: Iterable[str]) -> list[str]:
    """A list, and an empty line after it; nothing where there is nothing to list."""
    listed = [f"- {sentence}" for sentence in sentences]
    return [*listed, ""] if listed else []


def number(value: Any) -> str:
    """A figure as it stands in a table: three digits, or all that stand before the point."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits say enough


def line(cells: Iterable[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
