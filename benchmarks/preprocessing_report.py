"""Findings of the preprocessing contest -> JSON, Markdown, SVG and a verdict in words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from benchmarks.chart import Bar, Group, draw_bars
from benchmarks.preprocessing import METHODS, OURS, ROOF, Findings, Row
from dataloading.preprocess import Method

if TYPE_CHECKING:
    from pathlib import Path

GOALS: Final = {
    ("w185", "antialiased"): 7500,
    ("w185", "plain"): 9500,
    ("w500", "antialiased"): 2600,
}
"""Posters per second of each filter on two cores, as they were set before we began."""
GOAL_THREADS: Final = 2
WHOLE: Final = 0.995
"""Share kept that is all of the poster, to the pixel in which it is counted."""
NOTICEABLE: Final = 1.05
"""Rates that are nearer to each other than this are called the same."""
NOTES: Final = (
    "Each competitor is a process of its own and fills the same float32 batch of 32. *Per CPU s*, *of the roof* "
    "(decoding alone), *keyart is faster by* (our row of the same filter; median of the rounds' ratios, 95 % bootstrap "
    "interval) and *peak* are for resize; *difference* is from the reference, mean and largest of 255, in the worst of "
    "the methods."
)
COMMAND: Final = "keyart bench preprocessing"


def write(findings: Findings, folder: Path) -> list[Path]:
    """Write ``preprocessing.json``, ``.md`` and ``.svg`` into ``folder``, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        ".json": json.dumps(asdict(findings), indent=1) + "\n",
        ".md": markdown(findings),
        ".svg": draw_bars(_groups(findings)),
    }
    paths = [folder / f"preprocessing{suffix}" for suffix in contents]
    for path, text in zip(paths, contents.values(), strict=True):
        path.write_text(text)
    return paths


def verdict(findings: Findings) -> list[str]:
    """Say in words what came out: whether the article's claim holds, and whether our goals were reached."""
    return [*_claims(findings), *_goals(findings)]


def markdown(findings: Findings) -> str:
    """Lay the findings out as a page."""
    lines = ["# Preparing posters: what each way costs", ""]
    lines += [*(f"- {sentence}" for sentence in verdict(findings)), "", "![rates](preprocessing.svg)", ""]
    for source, threads in _cells(findings):
        rows = [row for row in findings.rows if (row.source, row.threads) == (source, threads)]
        lines += [
            f"## {source}, {threads} thread{'s' if threads > 1 else ''}: posters per second",
            "",
            *_table(rows),
            "",
        ]
    lines += ["## What each method does to a poster", "", *_effects(findings), ""]
    lines += ["## How it was measured", "", *_method(findings)]
    return "\n".join(lines) + "\n"


def _table(rows: list[Row]) -> list[str]:
    names = list(dict.fromkeys(row.name for row in rows))
    head = ["", "filter", *METHODS, "per CPU s", "of the roof", "keyart is faster by", "difference", "peak MiB"]
    lines = [_line(head), _line(["---"] * 2 + ["---:"] * (len(head) - 2))]
    for name in names:
        own = {row.method: row for row in rows if row.name == name}
        first = own[Method.RESIZE]
        difference = "-"
        if first.difference_mean is not None:
            largest = max(row.difference_largest or 0 for row in own.values())
            difference = f"{max(row.difference_mean or 0 for row in own.values()):.2f}, {largest:.0f}"
        lines.append(
            _line(
                [
                    name,
                    first.filter,
                    *(f"{own[method].posters_per_s:,.0f}" for method in METHODS),
                    f"{first.posters_per_cpu_s:,.0f}",
                    f"{first.roof_share:.0%}",
                    str(first.ours_is_faster or "-"),
                    difference,
                    f"{first.peak_bytes / 2**20:,.0f}",
                ]
            )
        )
    return lines


def _effects(findings: Findings) -> list[str]:
    lines = [_line(["", "method", "kept", "distortion", "padding"]), _line(["---", "---", "---:", "---:", "---:"])]
    return lines + [
        _line([one.source, one.method, f"{one.kept:.0%}", f"{one.distortion:.2f}", f"{one.padding:.0%}"])
        for one in findings.effects
    ]


def _method(findings: Findings) -> list[str]:
    posters = ", ".join(f"{count} {source}" for source, count in findings.posters.items())
    versions = ", ".join(f"{name} {version}" for name, version in sorted(findings.machine.versions.items()))
    missing = [f"Not measured: {name} ({reason})." for name, reason in findings.missing.items()]
    disturbed = [
        f"Disturbed ({cell}): others took {share:.0%} of the processors in the median round; trust ratios, not rates."
        for cell, share in findings.disturbed.items()
    ]
    return [
        f"`{COMMAND}` on {findings.date}, {findings.machine}.",
        "",
        f"{posters} posters in a lap, {findings.rounds} shuffled rounds after a warm-up; medians. {NOTES}",
        "",
        *missing,
        *disturbed,
        "",
        f"Versions: {versions}.",
    ]


def _claims(findings: Findings) -> list[str]:
    lines: list[str] = []
    threads = max(row.threads for row in findings.rows)
    for name in (OURS["antialiased"], "Pillow"):
        rates = {
            row.method: row.posters_per_cpu_s
            for row in findings.rows
            if (row.source, row.threads, row.name) == ("w185", threads, name)
        }
        if not rates:
            continue
        best = max(rates, key=lambda method: rates[method])
        lead = rates[best] / rates[Method.RANDOM_CROP]
        listed = ", ".join(f"{method} {rate:,.0f}" for method, rate in rates.items())
        same = lead < NOTICEABLE
        holds = "is as fast as any" if same else f"is not the fastest: {best} is {lead:.2f} times as fast"
        lines.append(f"With {name} on w185 posters, random crop and resize {holds} (per CPU second: {listed}).")
    for one in findings.effects:
        if one.method is Method.RANDOM_CROP:
            crops = "never crops" if one.kept > WHOLE else f"keeps {one.kept:.0%} of the picture"
            lines.append(
                f"Random crop 280 of a {one.source} poster {crops}; {one.padding:.0%} of its square is padding."
            )
    return lines


def _goals(findings: Findings) -> list[str]:
    lines: list[str] = []
    for (source, kind), goal in GOALS.items():
        rows = [
            row for row in findings.rows if (row.source, row.threads, row.name) == (source, GOAL_THREADS, OURS[kind])
        ]
        if not rows:
            continue
        slowest = min(rows, key=lambda row: row.posters_per_cpu_s)
        busy = f"{source}, {GOAL_THREADS} threads" in findings.disturbed
        rate = slowest.posters_per_cpu_s * GOAL_THREADS if busy else slowest.posters_per_s
        lines.append(
            f"Goal of {goal:,} {kind} {source} posters/s on two cores {'reached' if rate >= goal else 'not reached'}: "
            f"{rate:,.0f}/s in the slowest method{', by CPU time, for the machine was busy' if busy else ''}; "
            f"{slowest.roof_share:.0%} of the rate of decoding alone."
        )
    return lines


def _groups(findings: Findings) -> list[Group]:
    groups: list[Group] = []
    for source, threads in _cells(findings):
        rows = [
            row for row in findings.rows if (row.source, row.threads, row.method) == (source, threads, Method.RESIZE)
        ]
        roof = next((row.posters_per_s for row in rows if row.name == ROOF), None)
        bars = [
            Bar(label=row.name, value=row.posters_per_s, ours=row.name.startswith("keyart"))
            for row in sorted(rows, key=lambda row: -row.posters_per_s)
        ]
        title = f"{source}, resize to 224, {threads} thread{'s' if threads > 1 else ''}: posters/s"
        groups.append(Group(title=title, bars=bars, roof=roof))
    return groups


def _cells(findings: Findings) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row.source, row.threads) for row in findings.rows))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
