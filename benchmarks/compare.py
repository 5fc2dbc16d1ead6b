"""Results of two runs -> what got slower beyond the noise, as shares of each run's own roof.

A share of the roof is the same on a fast and on a slow machine, as far as the roof is of the same kind of work. Where a
question has no roof, rates are compared, and only between runs on one and the same machine.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from benchmarks.findings import Role
from benchmarks.result import read_results
from benchmarks.timing import CONFIDENCE, RESAMPLES, Ratio
from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.findings import Row
    from benchmarks.result import Result

NOTICEABLE: Final = 0.03
"""A change that is smaller is not spoken of, however sure it is."""


class Change(StrEnum):
    """What became of a row."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One of our rows, then and now."""

    question: str
    place: str
    name: str
    of_roof: bool
    """Whether shares of the roof were compared, or rates."""
    before: float
    after: float
    ratio: Ratio
    """After divided by before."""

    @property
    def change(self) -> Change:
        """Slower or faster if the whole interval is, by more than what is noticeable."""
        if self.ratio.high < 1 and self.ratio.value < 1 - NOTICEABLE:
            return Change.SLOWER
        if self.ratio.low > 1 and self.ratio.value > 1 + NOTICEABLE:
            return Change.FASTER
        return Change.SAME

    def __str__(self) -> str:
        shown = "{:.0%} of the roof" if self.of_roof else "{:,.1f} per s"
        sides = f"{shown.format(self.before)} before, {shown.format(self.after)} now"
        return f"{self.change} by {self.ratio}: {self.question}, {self.place}, {self.name} ({sides})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs."""

    rows: tuple[Compared, ...]
    passed_over: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def slower(self) -> tuple[Compared, ...]:
        """Rows that got slower beyond the noise."""
        return tuple(row for row in self.rows if row.change is Change.SLOWER)

    def __str__(self) -> str:
        told = [str(row) for row in self.rows if row.change is not Change.SAME]
        count = f"{len(self.rows)} rows compared, {len(self.slower)} slower beyond the noise"
        return "\n".join([count, *told, *(f"not compared: {why}" for why in self.passed_over)])


def compare(old: Path, new: Path) -> Comparison:
    """Compare all results in two folders, each of one machine or with a folder for each machine.

    Of several machines in ``old``, the one that ``new`` is from is taken.

    Raises:
        UnusableInput: A folder has no results, or one of several machines has no partner.
    """
    after = _results(new)
    machine = next(iter(after.values())).machine.slug
    before = _results(old / machine if (old / machine).is_dir() else old)
    rows: list[Compared] = []
    passed: list[str] = []
    for name, result in after.items():
        if name not in before:
            passed.append(f"{name}: not measured before")
            continue
        earlier = before[name]
        if earlier.quick or result.quick:
            passed.append(f"{name}: a quick run proves that it works, not how fast")
            continue
        if earlier.findings.inputs != result.findings.inputs:
            passed.append(f"{name}: other inputs ({earlier.findings.inputs}; {result.findings.inputs})")
            continue
        compared, why = _rows(name, earlier, result)
        rows += compared
        passed += why
    passed += [f"{name}: not measured now" for name in before if name not in after]
    return Comparison(rows=tuple(rows), passed_over=tuple(passed))


def _results(folder: Path) -> dict[str, Result]:
    if not folder.is_dir():
        msg = f"results {folder}: expected a folder that `keyart bench` wrote"
        raise UnusableInput(msg)
    found = read_results(folder)
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        again = {name for name in read_results(part) if name in found}
        if again:
            msg = f"results {folder}: has {min(again)} of several machines; give one machine's folder"
            raise UnusableInput(msg)
        found |= read_results(part)
    if not found:
        msg = f"results {folder}: expected a folder with results of `keyart bench`, found none"
        raise UnusableInput(msg)
    return found


def _rows(question: str, earlier: Result, later: Result) -> tuple[list[Compared], list[str]]:
    known = {(row.place, row.name): row for row in earlier.findings.rows}
    compared: list[Compared] = []
    passed: list[str] = []
    for row in later.findings.rows:
        before = known.get((row.place, row.name))
        if row.role is not Role.OURS or before is None:
            continue
        then, of_roof = _shares(before, earlier.findings.rows)
        now, still = _shares(row, later.findings.rows)
        if of_roof != still or (not of_roof and earlier.machine.slug != later.machine.slug):
            passed.append(f"{question}, {row.place}, {row.name}: no roof to compare by, on different machines")
            continue
        compared.append(
            Compared(
                question=question,
                place=row.place,
                name=row.name,
                of_roof=of_roof,
                before=statistics.median(then),
                after=statistics.median(now),
                ratio=_ratio(now, then),
            )
        )
    return compared, passed


def _shares(row: Row, rows: Sequence[Row]) -> tuple[list[float], bool]:
    """Give the row's share of the roof in each round, or its rates where there is none."""
    roof = next((one for one in rows if one.cell == row.cell and one.role is Role.ROOF), None)
    rates = [row.units / lap.wall_s for lap in row.laps]
    if roof is None:
        return rates, False
    return [rate / (roof.units / lap.wall_s) for rate, lap in zip(rates, roof.laps, strict=True)], True


def _ratio(now: Sequence[float], then: Sequence[float]) -> Ratio:
    """Divide medians; the interval is from resampling the rounds of both runs."""
    chance = random.Random(0)  # noqa: S311 - resampling, not a secret

    def median(values: Sequence[float]) -> float:
        return statistics.median(chance.choices(values, k=len(values)))

    resampled = sorted(median(now) / median(then) for _ in range(RESAMPLES))
    outside = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Ratio(
        value=statistics.median(now) / statistics.median(then), low=resampled[outside], high=resampled[-1 - outside]
    )
