"""Rows of the preprocessing contest -> what each method does to a poster, and the verdict on the article's claim."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.chart import Point, draw_points
from benchmarks.findings import Role, Row, Table, figures
from benchmarks.studies import Accuracy, read_accuracies
from dataloading.preprocess import Effect, Method, Preprocess, draw, effect

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.posters import Source

DALI_GPU: Final = "DALI gpu"
NOT_ON_A_GPU: Final = "not yet measured on a GPU"
SIZE: Final = 224
SAMPLE: Final = 32
"""Posters whose effect is looked at."""
GOALS: Final = {
    ("w185", "keyart native"): 7500,
    ("w185", "keyart native, plain"): 9500,
    ("w500", "keyart native, scaled decode"): 2600,
}
"""Posters per second of each of our rows on two cores, as they were set before we began."""
LEADS: Final = {
    ("w185", "Pillow"): 2.5,
    ("w185", "Pillow-SIMD"): 1.25,
    ("w185", "DALI cpu"): 3.0,
    ("w185", "OpenCV"): 1.35,
    ("w500", "OpenCV, reduced decode"): 1.3,
}
"""How many times faster than each rival we set out to be."""
GOAL_THREADS: Final = "2"
WHOLE: Final = 0.995
"""Share kept that is all of the poster, to the pixel in which it is counted."""
NOTICEABLE: Final = 1.05
"""Rates that are nearer to each other than this are called the same."""


def verdict(rows: Sequence[Row], sources: Sequence[Source], studies: Path | None) -> list[str]:
    """Say in words what came out: whether the article's claim holds, and whether our goals were reached."""
    return [*_speed(rows), *_accuracy(read_accuracies(studies)), *_crops(sources), *_goals(rows), *_leads(rows)]


def quality_tables(sources: Sequence[Source], studies: Path | None) -> list[Table]:
    """What each method does to a typical poster of each kind, and what it did to accuracy."""
    effects = [
        (source.name, str(method), f"{seen.kept:.0%}", f"{seen.distortion:.2f}", f"{seen.padding:.0%}")
        for source in sources
        for method, seen in effects_of(source).items()
    ]
    tables = [
        Table(
            title="What each method does to a poster",
            columns=("posters", "method", "kept", "distortion", "padding"),
            rows=tuple(effects),
        )
    ]
    found = [(one.study, one.task, str(one.method), str(one.seeds), str(one)) for one in read_accuracies(studies)]
    if found:
        columns = ("study", "task", "method", "seeds", "top-1 (95 % interval)")
        tables.append(Table(title="What each method did to accuracy", columns=columns, rows=tuple(found)))
    return tables


def quality_chart(rows: Sequence[Row], sources: Sequence[Source], studies: Path | None) -> dict[str, str]:
    """Draw cost against quality: top-1 where a study has it, else the share of the poster that is kept."""
    cost = {method: 1e6 / rate for method, rate in _cpu_rates(rows, "keyart native").items()}
    found = _best_study(read_accuracies(studies))
    if found:
        points = [
            Point(label=str(one.method), x=cost[one.method], y=100 * one.top1, low=100 * one.low, high=100 * one.high)
            for one in found
            if one.method in cost
        ]
        title = f"Cost against accuracy: {found[0].study}, {found[0].task}"
        return {"quality": draw_points(title, "CPU microseconds a w185 poster, keyart native", "top-1, %", points)}
    kept = {method: 100 * seen.kept for method, seen in effects_of(sources[0]).items()}
    points = [Point(label=str(method), x=cost[method], y=kept[method]) for method in cost]
    title = "Cost against share of the poster kept"
    return {"quality": draw_points(title, "CPU microseconds a w185 poster, keyart native", "kept, %", points)}


def effects_of(source: Source) -> dict[Method, Effect]:
    """Average what each method does to the first posters of a source."""
    found: dict[Method, Effect] = {}
    for method in (Method.RESIZE, Method.CENTER_CROP, Method.PAD, Method.RANDOM_CROP):
        spec, sizes = Preprocess(method=method, size=SIZE), source.sizes[:SAMPLE]
        each = [effect(draw(spec, *size, movie_id=movie), *size, SIZE) for movie, size in enumerate(sizes)]
        mean = {
            name: float(np.mean([getattr(one, name) for one in each])) for name in ("kept", "distortion", "padding")
        }
        found[method] = Effect(**mean)
    return found


def _cpu_rates(rows: Sequence[Row], name: str) -> dict[Method, float]:
    """Posters per CPU second of one contender on w185 posters with the most threads, by method."""
    own = [row for row in rows if row.name == name and row.cell["posters"] == "w185"]
    most = max((int(row.cell["threads"]) for row in own), default=0)
    return {
        Method(row.cell["method"]): row.measurement.units_per_cpu_s for row in own if int(row.cell["threads"]) == most
    }


def _speed(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for name in ("keyart native", "Pillow", "scikit-image, the article's"):
        rates = _cpu_rates(rows, name)
        if not rates:
            continue
        best = max(rates, key=lambda method: rates[method])
        lead = rates[best] / rates[Method.RANDOM_CROP]
        listed = ", ".join(f"{method} {rate:,.0f}" for method, rate in rates.items())
        holds = "is as fast as any" if lead < NOTICEABLE else f"is not the fastest: {best} is {lead:.2f} times as fast"
        lines.append(f"With {name} on w185 posters, random crop and resize {holds} (per CPU second: {listed}).")
    return lines


def _best_study(found: Sequence[Accuracy]) -> list[Accuracy]:
    """The study with the most methods and seeds, of the claim's own task if it is there."""
    groups: dict[tuple[str, str], list[Accuracy]] = {}
    for one in found:
        groups.setdefault((one.study, one.task), []).append(one)
    several = [group for group in groups.values() if len({one.method for one in group}) > 1]
    return max(
        several, key=lambda group: (group[0].task.startswith("comedy-horror"), len(group), group[0].seeds), default=[]
    )


def _accuracy(found: Sequence[Accuracy]) -> list[str]:
    study = _best_study(found)
    ours = next((one for one in study if one.method is Method.RANDOM_CROP), None)
    if ours is None:
        return ["Whether random crop and resize is the most accurate was not measured: no study of it was given."]
    better = [one for one in study if one.top1 > ours.top1]
    apart = [one for one in study if one is not ours and (one.low > ours.high or one.high < ours.low)]
    rank = "has the highest top-1" if not better else f"is not the most accurate ({len(better)} methods are above it)"
    sure = "the intervals overlap" if not apart else f"apart from {', '.join(one.method for one in apart)}"
    listed = ", ".join(f"{one.method} {one}" for one in study)
    return [f"In {study[0].study} ({study[0].task}) random crop and resize {rank}; {sure}: {listed}."]


def _crops(sources: Sequence[Source]) -> list[str]:
    lines: list[str] = []
    for source in sources:
        seen = effects_of(source)[Method.RANDOM_CROP]
        crops = "never crops" if seen.kept > WHOLE else f"keeps {seen.kept:.0%} of the picture"
        lines.append(f"Random crop 280 of a {source.name} poster {crops}; {seen.padding:.0%} of its square is padding.")
    return lines


def _goals(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for (posters, name), goal in GOALS.items():
        own = [
            row for row in rows if (row.cell["posters"], row.cell["threads"], row.name) == (posters, GOAL_THREADS, name)
        ]
        if not own:
            continue
        slowest = min(own, key=lambda row: row.measurement.units_per_s)
        shown = figures(slowest, rows)
        share = f"; {shown.roof_share.value:.0%} of the rate of decoding alone" if shown.roof_share else ""
        lines.append(
            f"Goal of {goal:,} {posters} posters/s with {name} on two cores "
            f"{'reached' if shown.units_per_s >= goal else 'not reached'}: {shown.units_per_s:,.0f}/s in its slowest "
            f"method, {slowest.cell['method']} ({2 * (shown.units_per_cpu_s or 0):,.0f}/s by CPU time){share}."
        )
    return lines


def _leads(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for (posters, name), goal in LEADS.items():
        own = [
            found
            for row in rows
            if row.role is Role.PEER
            and (row.cell["posters"], row.cell["threads"], row.name) == (posters, GOAL_THREADS, name)
            and (found := figures(row, rows).ours_is_faster) is not None
        ]
        if own:
            least = min(own, key=lambda ratio: ratio.value)
            met = "reached" if least.value >= goal else "not reached"
            lines.append(f"Goal of {goal:g} times {name} on {posters} {met}: {least} in the method where it is least.")
    return lines
