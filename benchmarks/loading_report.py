"""The loading benchmark's result -> Markdown and SVG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.chart import Bar, Group, draw_bars

if TYPE_CHECKING:
    from benchmarks.machine import Machine
    from benchmarks.timing import Ratio

OURS: Final = "keyart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A loader over all rounds."""

    name: str
    images_per_s: float
    """Per second of wall time, the median round."""
    ratio: Ratio
    """How many times faster than the baseline."""
    images_per_cpu_s: float
    """CPU time of worker processes included."""
    memory_mb: float
    """Of the process and its workers once batches flow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadingReport:
    """The benchmark's result."""

    dataset: str
    posters: int
    mean_bytes: int
    rounds: int
    repeated: int
    """Rounds that were thrown away because the machine was busy."""
    disturbed: bool
    """Whether others took processor time in half of the rounds that were kept."""
    setting: dict[str, int]
    machine: Machine
    rows: list[Row]
    missing: dict[str, str]
    """Loader -> why it could not take part."""

    def __str__(self) -> str:
        return markdown(self)


def markdown(report: LoadingReport) -> str:
    """Set the result as a table with what it was measured on."""
    setting = report.setting
    summary = (
        f"{report.posters:,} posters of {report.mean_bytes / 1000:.1f} kB on average, batches of "
        f"{setting['batch_size']} x 3 x {setting['size']} x {setting['size']} float32, {setting['threads']} threads or "
        f"worker processes, median of {report.rounds} alternating rounds."
    )
    columns = "loader | posters/s | x DataLoader (95 % interval) | posters per CPU second | memory, MB"
    lines = [
        summary,
        "",
        f"| {columns} |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {row.name} | {row.images_per_s:,.0f} | {row.ratio} | {row.images_per_cpu_s:,.0f} | "
            f"{row.memory_mb:,.0f} |"
            for row in report.rows
        ),
        *(f"| {name} | - | - | - | {reason} |" for name, reason in report.missing.items()),
        "",
        f"Machine: {report.machine}. "
        + ", ".join(f"{package} {version}" for package, version in report.machine.versions.items())
        + ".",
    ]
    if report.disturbed:
        lines += ["", "The machine was busy with other things: trust the ratios and the CPU seconds, not the rates."]
    return "\n".join(lines)


def svg(report: LoadingReport) -> str:
    """Draw the rates, and those per CPU second."""
    roof = [row for row in report.rows if row.name.startswith("roof")]
    rows = [row for row in report.rows if row not in roof]
    return draw_bars(
        [
            Group(
                title=f"Posters per second, {report.setting['threads']} threads or worker processes",
                bars=[Bar(label=row.name, value=row.images_per_s, ours=row.name == OURS) for row in rows],
                roof=roof[0].images_per_s if roof else None,
            ),
            Group(
                title="Posters per CPU second",
                bars=[Bar(label=row.name, value=row.images_per_cpu_s, ours=row.name == OURS) for row in rows],
                roof=roof[0].images_per_cpu_s if roof else None,
            ),
        ]
    )
