"""Laps of contenders -> rows and findings: the one form in which every question of `keyart bench` answers.

A question is a module of this package with one function, ``measure(options: Options) -> Findings``, and a line in
``benchmarks.questions``. Everything else (files, charts, the command line, machine, versions, the page of all results)
is done for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.timing import REPEATS, ROUNDS, Contender, Lap, Measurement, Ratio, Series, alternate, faster
from crawler.progress import Advance, silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

QUICK_ROUNDS: Final = 1


class Role(StrEnum):
    """What a contender is in the comparison."""

    OURS = "ours"
    PEER = "peer"
    ROOF = "roof"
    """What the machine could do at most: never a competitor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks of every question."""

    posters: Path | None = None
    """Folder of JPEGs about 185 pixels wide; None draws posters."""
    rounds: int = ROUNDS
    quick: bool = False
    """A few seconds, to prove that it works: few posters, no peer that needs an environment of its own."""
    threads: int = 1
    """Processors that may be used."""
    cache: Path
    """Folder that outlives the run: environments of peers, posters that were drawn or enlarged."""
    scratch: Path
    """Empty folder that is removed after the question."""
    studies: Path | None = None
    """Folder with results of training studies, for questions that set quality beside cost."""
    advance: Advance = silent
    """Told after each finished piece of work."""

    def take_turns(self, contenders: Mapping[str, Contender], units: Mapping[str, int]) -> Series:
        """Let contenders alternate for as many rounds as were asked for; a quick run warms up and repeats nothing."""
        return alternate(
            contenders,
            units,
            advance=self.advance,
            rounds=self.rounds,
            repeats=0 if self.quick else REPEATS,
            warm_up=not self.quick,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender in one cell: everything of it that was measured.

    Rows of one cell were measured in the same rounds: lap ``i`` of each belongs to the same round.
    """

    cell: Mapping[str, str]
    """What it was measured on: ``{"posters": "w185", "threads": "2"}``."""
    name: str
    role: Role
    unit: str
    """What a lap does ``units`` of, in the plural: posters, requests, steps."""
    units: int
    laps: tuple[Lap, ...]
    against: str | None = None
    """Our row that it is compared with; the first of ours in the cell where left out."""
    extra: Mapping[str, float | str] = field(default_factory=dict[str, "float | str"])
    """More columns, heading -> value: latency, difference, loss."""

    @property
    def measurement(self) -> Measurement:
        """As timing knows it."""
        return Measurement(name=self.name, units=self.units, laps=self.laps)

    @property
    def place(self) -> str:
        """The cell in words: ``w185, resize, 2 threads``."""
        return ", ".join(_worded(key, value) for key, value in self.cell.items()) or "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a table says of a row."""

    units_per_s: float
    """Of wall time, the median lap."""
    units_per_cpu_s: float | None
    """Of CPU time of all its processes; None where it was not measured."""
    peak_bytes: int | None
    spread: float
    """Half the range between the quartiles of the wall times, as a share of the median."""
    roof_share: Ratio | None
    """Rate as a share of the roof's in the same rounds."""
    ours_is_faster: Ratio | None
    """Our rate divided by this one; None for ours and for the roof."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that a question adds to those of its rates."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that a question found out."""

    rows: tuple[Row, ...]
    inputs: str
    """What was worked on: ``256 real posters of 11.2 kB``. Results on other inputs are not compared."""
    method: str
    """How it was measured, in a few sentences."""
    verdict: tuple[str, ...] = ()
    """What came out, a sentence each; goals and the claims of others by name."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Contenders, or columns of them, that were not measured, and why."""
    disturbed: Mapping[str, str] = field(default_factory=dict[str, str])
    """Cell -> what disturbed it, in words, where repetition did not help."""
    repeated: int = 0
    """Rounds that were thrown away because the machine was busy."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the libraries that took part, wherever they are installed."""
    tables: tuple[Table, ...] = ()
    charts: Mapping[str, str] = field(default_factory=dict[str, str])
    """More drawings, name -> SVG."""
    pivot: str | None = None
    """Key of the cells whose values become columns of one table, rather than tables of their own."""
    headline: Mapping[str, str] = field(default_factory=dict[str, str])
    """Entries that a cell must have for its rows to stand on the page of all results; without any, all stand there."""


class Measure(Protocol):
    """What a question's module has under the name ``measure``."""

    def __call__(self, options: Options) -> Findings:
        """Find it out."""
        ...


def rows_of(
    series: Series,
    cell: Mapping[str, str],
    roles: Mapping[str, Role],
    *,
    unit: str = "posters",
    extra: Mapping[str, Mapping[str, float | str]] | None = None,
) -> tuple[Row, ...]:
    """Turn a series of rounds into rows of one cell.

    Args:
        series: From ``timing.alternate``.
        cell: What all of them were measured on.
        roles: By name; a contender without one is a peer.
        unit: What a lap is so many of.
        extra: More columns, by name.
    """
    return tuple(
        Row(
            cell=cell,
            name=name,
            role=roles.get(name, Role.PEER),
            unit=unit,
            units=found.units,
            laps=found.laps,
            extra=(extra or {}).get(name, {}),
        )
        for name, found in series.measurements.items()
    )


def disturbance(series: Series, place: str) -> dict[str, str]:
    """Say by what a series was disturbed: an entry of ``Findings.disturbed``, or none."""
    return {place: series.disturbance} if series.disturbed else {}


def figures(row: Row, rows: Sequence[Row]) -> Figures:
    """Work out what a table says of a row, from it and the others of its cell."""
    peers = [other for other in rows if other.cell == row.cell]
    roof = next((other for other in peers if other.role is Role.ROOF), None)
    ours = next((o for o in peers if o.role is Role.OURS and row.against in {None, o.name}), None)
    found = row.measurement
    compared = ours if row.role is Role.PEER else None
    measured = min(lap.cpu_s for lap in row.laps) > 0
    return Figures(
        units_per_s=found.units_per_s,
        units_per_cpu_s=found.units_per_cpu_s if measured else None,
        peak_bytes=found.peak_bytes or None,
        spread=found.spread if len(row.laps) > 1 else 0.0,
        roof_share=faster(found, roof.measurement) if roof is not None else None,
        ours_is_faster=faster(compared.measurement, found) if compared is not None else None,
    )


def _worded(key: str, value: str) -> str:
    if not value.isdigit():
        return value
    return f"{value} {key.removesuffix('s') if value == '1' else key}"
