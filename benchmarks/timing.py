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
SLOWDOWN_LIMIT: Final = 0.1
"""By how much a fixed piece of arithmetic may take longer than in the best round: more is a lower clock."""
YARDSTICK: Final = 50_000
"""Additions: about two milliseconds."""
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
    slowdown: tuple[float, ...] = ()
    """By how much a fixed piece of arithmetic took longer than in the best round, for each that is kept."""

    @property
    def disturbed(self) -> bool:
        """Whether half of the rounds that are kept were disturbed, by others at work or by a lower clock."""
        return bool(self.disturbance)

    @property
    def disturbance(self) -> str:
        """In words, what disturbed half of the rounds that are kept; empty where nothing did."""
        foreign, slowdown = statistics.median(self.foreign), statistics.median(self.slowdown or (0.0,))
        said = [f"others took {foreign:.0%} of the processors in the median round"] * (foreign > FOREIGN_LIMIT)
        said += [f"the clock was {slowdown:.0%} lower than in the best round"] * (slowdown > SLOWDOWN_LIMIT)
        return " and ".join(said)


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
    repeats: int = REPEATS,
    warm_up: bool = True,
    seed: int = 0,
) -> Series:
    """Let each contender do its work once a round, in an order that is shuffled for each round.

    A round before the first is a warm-up and not counted. A round in which others took more than ``FOREIGN_LIMIT`` of
    the processors, or the clock was lower than in the best by ``SLOWDOWN_LIMIT``, is done again, ``repeats`` times at
    most; the quietest rounds are kept, and ``Series.disturbed`` says whether they were quiet enough.

    Args:
        contenders: By name.
        units: That each of them does in a lap; ratios are of rates, so one that is very slow may do fewer.
        advance: Told after each round.
        rounds: That are kept.
        repeats: Disturbed rounds that are done again, at most.
        warm_up: Whether to do a round before that is not counted.
        seed: Of the order.
    """
    order, chance = list(contenders), random.Random(seed)  # noqa: S311 - an order, not a secret
    done: list[_Round] = []
    for contender in contenders.values() if warm_up else ():
        contender.lap()
    while sum(one.quiet(_best_s(done)) for one in done) < rounds and len(done) < rounds + repeats:
        chance.shuffle(order)
        done.append(_round(contenders, order))
        if len(done) <= rounds:
            advance(1)
    best_s = _best_s(done)
    kept = sorted(done, key=lambda one: (not one.quiet(best_s), one.foreign))[:rounds]
    return Series(
        measurements={
            name: Measurement(name=name, units=units[name], laps=tuple(one.laps[name] for one in kept))
            for name in contenders
        },
        foreign=tuple(one.foreign for one in kept),
        repeated=len(done) - rounds,
        slowdown=tuple(one.yardstick_s / best_s - 1 for one in kept),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    laps: Mapping[str, Lap]
    foreign: float
    yardstick_s: float

    def quiet(self, best_s: float) -> bool:
        return self.foreign <= FOREIGN_LIMIT and self.yardstick_s <= best_s * (1 + SLOWDOWN_LIMIT)


def _best_s(rounds: Sequence[_Round]) -> float:
    return min((one.yardstick_s for one in rounds), default=0.0)


def _round(contenders: Mapping[str, Contender], order: Sequence[str]) -> _Round:
    yardstick_s, before, start = yardstick(), busy_s(), time.perf_counter()
    laps = {name: contenders[name].lap() for name in order}
    wall_s = time.perf_counter() - start
    others_s = busy_s() - before - sum(lap.cpu_s for lap in laps.values())
    foreign = max(0.0, others_s) / (wall_s * (os.cpu_count() or 1))
    return _Round(laps=laps, foreign=foreign, yardstick_s=yardstick_s)


def yardstick() -> float:
    """Time a fixed piece of arithmetic, the best of five tries: that tells a lower clock, not a busy machine."""

    def once() -> float:
        start = time.perf_counter()
        sum(range(YARDSTICK))
        return time.perf_counter() - start

    return min(once() for _ in range(5))


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
