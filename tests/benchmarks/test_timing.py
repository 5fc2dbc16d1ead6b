"""Rounds alternate and are shuffled; ratios are taken within a round; a busy machine is noticed and said."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from dataclasses import dataclass, field

import pytest

from benchmarks.timing import FOREIGN_LIMIT, Lap, Measurement, alternate, bootstrap, busy_s, faster
from crawler.progress import silent


@dataclass
class Sleeper:
    """A contender that takes a known time and notes its turn."""

    name: str
    turns: list[str]
    wall_s: float
    slower: itertools.count[int] = field(default_factory=itertools.count)

    def lap(self) -> Lap:
        """Note the turn; take no time at all, but say that it took some."""
        self.turns.append(self.name)
        return Lap(wall_s=self.wall_s * 2 ** next(self.slower), cpu_s=0.0, peak_bytes=1)


def measurement(*walls_s: float, units: int = 100) -> Measurement:
    """A measurement with these wall times."""
    return Measurement(
        name="x", units=units, laps=tuple(Lap(wall_s=wall, cpu_s=wall / 2, peak_bytes=1) for wall in walls_s)
    )


def test_each_round_has_every_contender_once_in_an_order_of_its_own() -> None:
    """After a warm-up of one lap each, rounds are permutations, and not always the same."""
    turns: list[str] = []
    names = [str(number) for number in range(6)]
    alternate({name: Sleeper(name, turns, 0.001) for name in names}, dict.fromkeys(names, 1), advance=silent, rounds=4)
    rounds = [tuple(turns[begin : begin + 6]) for begin in range(0, len(turns), 6)]
    assert rounds[0] == tuple(names)
    assert all(sorted(one) == names for one in rounds)
    assert len(set(rounds[1:])) > 1


def test_the_warm_up_is_not_counted() -> None:
    """The first lap of each contender is thrown away; here each lap takes twice as long as the one before."""
    turns: list[str] = []
    series = alternate({"a": Sleeper("a", turns, 1.0)}, {"a": 8}, advance=silent, rounds=1)
    assert series.measurements["a"].laps[0].wall_s >= 2.0


def test_rates_are_those_of_the_median_lap() -> None:
    """One slow lap does not move the rate."""
    found = measurement(1.0, 2.0, 50.0)
    assert found.units_per_s == 50
    assert found.units_per_cpu_s == 100


def test_a_ratio_is_taken_within_each_round() -> None:
    """A round that was slow for both leaves the ratio alone."""
    ratio = faster(measurement(1.0, 10.0, 1.0), measurement(2.0, 20.0, 2.0))
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_ratios_compare_the_same_amount_of_work() -> None:
    """Half of the units in the same time is half of the speed."""
    assert faster(measurement(1.0, 1.0, units=100), measurement(1.0, 1.0, units=50)).value == 2.0


def test_the_interval_holds_the_median_and_narrows_with_more_rounds() -> None:
    """Three rounds tell less than thirty."""
    few, many = bootstrap([1.0, 2.0, 3.0]), bootstrap([1.0, 2.0, 3.0] * 10)
    assert few[0] <= 2.0 <= few[1]
    assert many[1] - many[0] < few[1] - few[0]


def spin() -> None:
    """Take a processor until we are ended."""
    while True:
        pass


def test_others_at_work_are_noticed() -> None:
    """While other processes keep all processors busy, rounds count as disturbed."""

    @dataclass
    class Idle:
        """A contender that waits."""

        def lap(self) -> Lap:
            """Wait long enough for the kernel's clock."""
            time.sleep(0.2)
            return Lap(wall_s=0.2, cpu_s=0.0, peak_bytes=1)

    others = [multiprocessing.get_context("spawn").Process(target=spin) for _ in range(os.cpu_count() or 1)]
    for other in others:
        other.start()
    try:
        time.sleep(1)
        series = alternate({"idle": Idle()}, {"idle": 1}, advance=silent, rounds=2)
    finally:
        for other in others:
            other.kill()
            other.join()
    assert series.disturbed
    assert series.repeated > 0
    assert min(series.foreign) > FOREIGN_LIMIT


def test_the_machines_clock_of_work_runs_forward() -> None:
    """Working takes processor time that the machine counts."""
    before, until = busy_s(), time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert busy_s() - before > 0.1


@pytest.mark.parametrize("rounds", [1, 3])
def test_as_many_rounds_are_kept_as_were_asked_for(rounds: int) -> None:
    """Whatever was repeated."""
    series = alternate({"a": Sleeper("a", [], 0.001)}, {"a": 1}, advance=silent, rounds=rounds)
    assert len(series.measurements["a"].laps) == len(series.foreign) == rounds
