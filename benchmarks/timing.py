"""Contenders -> measurements: shuffled alternating rounds, wall and CPU time, and whether the machine was quiet."""

from __future__ import annotations

import os
import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crawler.progress import Advance

ROUNDS: Final = 5
FOREIGN_LIMIT: Final = 0.05
"""Share of the machine's processor time that others may take before a round counts as disturbed."""
REPEATS: Final = 2
"""Disturbed rounds that are thrown away and done again, at most."""
RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Lap:
    """One contender's work in one round."""

    wall_s: float
    cpu_s: float
    """Of all its threads and processes."""
    peak_bytes: int
    """Most memory that it held, everything included."""


class Contender(Protocol):
    """Something that does the same work as the others."""

    def lap(self) -> Lap:
        """Do the work once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one contender took, lap by lap; lap ``i`` of each contender belongs to the same round."""

    name: str
    units: int
    """Posters, requests or whatever was done in a lap."""
    laps: tuple[Lap, ...]

    @property
    def units_per_s(self) -> float:
        """Per second of wall time, the median lap."""
        return self.units / statistics.median(lap.wall_s for lap in self.laps)

    @property
    def units_per_cpu_s(self) -> float:
        """Per second of CPU time, the median lap."""
        return self.units / statistics.median(lap.cpu_s for lap in self.laps)

    @property
    def peak_bytes(self) -> int:
        """Most memory of any lap."""
        return max(lap.peak_bytes for lap in self.laps)

    @property
    def spread(self) -> float:
        """Half of the range between the quartiles of the wall times, as a share of the median."""
        low, middle, high = statistics.quantiles((lap.wall_s for lap in self.laps), n=4, method="inclusive")
        return (high - low) / 2 / middle


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Measurements that were taken in the same rounds, so that their ratios mean something."""

    measurements: Mapping[str, Measurement]
    foreign: tuple[float, ...]
    """Share of the processors that others took, for each round that is kept."""
    repeated: int
    """Rounds that were thrown away because the machine was busy."""

    @property
    def disturbed(self) -> bool:
        """Whether half of the rounds that are kept were disturbed."""
        return statistics.median(self.foreign) > FOREIGN_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times faster one contender is than another, with its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As it stands in a table."""
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def alternate(
    contenders: Mapping[str, Contender],
    units: Mapping[str, int],
    *,
    advance: Advance,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Series:
    """Let each contender do its work once a round, in an order that is shuffled for each round.

    A round before the first is a warm-up and not counted. A round in which others took more than ``FOREIGN_LIMIT`` of
    the processors is done again, ``REPEATS`` times at most; the quietest rounds are kept, and ``Series.disturbed`` says
    whether they were quiet enough.

    Args:
        contenders: By name.
        units: That each of them does in a lap; ratios are of rates, so one that is very slow may do fewer.
        advance: Told after each round.
        rounds: That are kept.
        seed: Of the order.
    """
    order, chance = list(contenders), random.Random(seed)  # noqa: S311 - an order, not a secret
    done: list[tuple[dict[str, Lap], float]] = []
    for contender in contenders.values():
        contender.lap()
    while sum(foreign <= FOREIGN_LIMIT for _, foreign in done) < rounds and len(done) < rounds + REPEATS:
        chance.shuffle(order)
        before, start = busy_s(), time.perf_counter()
        laps = {name: contenders[name].lap() for name in order}
        wall_s = time.perf_counter() - start
        others_s = busy_s() - before - sum(lap.cpu_s for lap in laps.values())
        foreign = max(0.0, others_s) / (wall_s * (os.cpu_count() or 1))
        done.append((laps, foreign))
        if len(done) <= rounds:
            advance(1)
    kept = sorted(done, key=lambda pair: pair[1])[:rounds]
    return Series(
        measurements={
            name: Measurement(name=name, units=units[name], laps=tuple(laps[name] for laps, _ in kept))
            for name in contenders
        },
        foreign=tuple(foreign for _, foreign in kept),
        repeated=len(done) - rounds,
    )


def faster(one: Measurement, other: Measurement, seed: int = 0) -> Ratio:
    """Say how many times faster ``one`` is than ``other`` in wall time.

    Returns:
        The median over rounds of the ratio within a round, and the 95 % interval of that median under resampling.
    """
    ratios = [
        (theirs.wall_s / other.units) / (ours.wall_s / one.units)
        for ours, theirs in zip(one.laps, other.laps, strict=True)
    ]
    low, high = bootstrap(ratios, seed)
    return Ratio(value=statistics.median(ratios), low=low, high=high)


def bootstrap(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Give the interval that holds 95 % of the medians of resampled ``values``."""
    chance = random.Random(seed)  # noqa: S311 - resampling, not a secret
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    outside = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return medians[outside], medians[-1 - outside]


def busy_s() -> float:
    """Sum the time for which this machine's processors have worked, for anyone, in seconds since it started."""
    user, nice, system, _idle, _wait, *interrupts = (
        float(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
