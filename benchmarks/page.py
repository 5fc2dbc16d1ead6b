"""Stored results of all machines -> one page: a table a question, the plot, the command, and why it comes out so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from benchmarks.findings import Role, figures
from benchmarks.questions import QUESTIONS
from benchmarks.report import bullets, line, number
from benchmarks.result import read_results

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.result import Result

INTRODUCTION: Final = (
    "Made from stored results by `keyart bench all`; do not edit. Every contender did the same work on the same files "
    "and machine, in shuffled rounds after an uncounted warm-up. *Of the roof* is the share of what the machine "
    "could do at most, measured in the same rounds; *keyart is faster by* is the median of the rounds' ratios with its "
    "95 % bootstrap interval. Ours are **bold**, roofs are *italic*. Rates are medians, per second of wall time."
)


def page(results: Path, at: Path) -> str:
    """Lay out all results.

    Args:
        results: Folder with a folder for each machine.
        at: Where the page will lie, for its links.
    """
    lines = ["# Benchmarks", "", INTRODUCTION, ""]
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        found = {name: result for name, result in read_results(folder).items() if not result.quick}
        if not found:
            continue
        newest = max(found.values(), key=lambda result: result.date)
        lines += [f"## {newest.machine.slug}", "", f"{newest.machine}.", ""]
        link = os.path.relpath(folder, at.parent)
        for name in [
            *(name for name in QUESTIONS if name in found),
            *(name for name in found if name not in QUESTIONS),
        ]:
            lines += _section(found[name], link)
        missing = [
            f"{QUESTIONS[name].title}: not yet measured on this machine." for name in QUESTIONS if name not in found
        ]
        lines += bullets(missing)
    if not any(text.startswith("## ") for text in lines):
        lines.append("No result is stored yet.")
    return "\n".join(lines).rstrip() + "\n"


def _section(result: Result, link: str) -> list[str]:
    found, name = result.findings, result.question
    lines = [f"### {result.title}", "", f"`{result.command}`, {result.date}; [all of it]({link}/{name}.md).", ""]
    lines += bullets(found.verdict)
    lines += [f"Why: {result.why}", ""]
    if found.rows:
        lines += [*_table(result), "", f"![{result.title}]({link}/{name}.svg)", ""]
    for more in found.charts:
        lines += [f"![{result.title}: {more}]({link}/{name}-{more}.svg)", ""]
    disturbed = [f"Disturbed ({place}): {what}; trust ratios, not rates." for place, what in found.disturbed.items()]
    return lines + bullets([*disturbed, *(f"Not measured: {who} ({why})." for who, why in found.missing.items())])


def _table(result: Result) -> list[str]:
    head = ["on", "", "per second", "per CPU s", "of the roof", "keyart is faster by"]
    lines = [line(head), line(["---", "---", "---:", "---:", "---:", "---:"])]
    rows = result.findings.rows
    for row in rows:
        if any(row.cell.get(key) != value for key, value in result.findings.headline.items()):
            continue
        shown = figures(row, rows)
        name = f"**{row.name}**" if row.role is Role.OURS else f"*{row.name}*" if row.role is Role.ROOF else row.name
        lines.append(
            line(
                [
                    row.place,
                    name,
                    f"{number(shown.units_per_s)} {row.unit}",
                    number(shown.units_per_cpu_s),
                    f"{shown.roof_share.value:.0%}" if shown.roof_share and row.role is not Role.ROOF else "-",
                    str(shown.ours_is_faster or "-"),
                ]
            )
        )
    return lines
