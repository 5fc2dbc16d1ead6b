"""The loading benchmark's result -> Markdown and SVG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

BAR_HEIGHT: Final = 22
LABEL_WIDTH: Final = 250
BAR_WIDTH: Final = 380


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A contender over all rounds."""

    name: str
    version: str
    images_per_s: float
    """Median."""
    ratio: float
    """Of its rate to the baseline's in the same round, median."""
    ratio_low: float
    """Lowest of the rounds."""
    ratio_high: float
    images_per_cpu_s: float
    memory_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingReport:
    """The benchmark's result."""

    dataset: str
    posters: int
    mean_bytes: int
    rounds: int
    setting: dict[str, int]
    machine: dict[str, str]
    rows: list[Row]
    missing: dict[str, str]
    """Contender -> why it could not take part."""

    def __str__(self) -> str:
        return markdown(self)


def markdown(report: LoadingReport) -> str:
    """Set the result as a table with what it was measured on."""
    setting, machine = report.setting, report.machine
    summary = (
        f"{report.posters:,} posters of {report.mean_bytes / 1000:.1f} kB on average, batches of "
        f"{setting['batch_size']} x 3 x {setting['size']} x {setting['size']} float32, {setting['threads']} threads or "
        f"worker processes, median of {report.rounds} alternating rounds."
    )
    columns = "loader | posters/s | x DataLoader (low to high) | posters per CPU second | memory, MB | version"
    lines = [
        summary,
        "",
        f"| {columns} |",
        "|---|---:|---:|---:|---:|---|",
        *(
            f"| {row.name} | {row.images_per_s:,.0f} | {row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f}) | "
            f"{row.images_per_cpu_s:,.0f} | {row.memory_mb:,.0f} | {row.version} |"
            for row in report.rows
        ),
        *(f"| {name} | - | - | - | - | {reason} |" for name, reason in report.missing.items()),
        "",
        "Machine: " + "; ".join(f"{name} {value}" for name, value in machine.items()) + ".",
    ]
    return "\n".join(lines)


def svg(report: LoadingReport) -> str:
    """Draw the rates as bars with their numbers."""
    largest = max(row.images_per_s for row in report.rows)
    height = BAR_HEIGHT * len(report.rows) + 40
    width = LABEL_WIDTH + BAR_WIDTH + 90
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif"'
    parts = [
        f'{opening} font-size="12"><title>Posters per second by loader</title>',
        f'<text x="8" y="18" font-size="14">Posters per second, {report.setting["threads"]} threads</text>',
    ]
    for place, row in enumerate(report.rows):
        y = 32 + place * BAR_HEIGHT
        length = BAR_WIDTH * row.images_per_s / largest
        colour = "#b03a2e" if row.name == "keyart" else "#c8c8c8" if row.name.startswith("roof") else "#5d6d7e"
        parts += [
            f'<text x="{LABEL_WIDTH - 8}" y="{y + 13}" text-anchor="end">{escape(row.name)}</text>',
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT - 6}" fill="{colour}"/>',
            f'<text x="{LABEL_WIDTH + length + 6:.1f}" y="{y + 13}">{row.images_per_s:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
