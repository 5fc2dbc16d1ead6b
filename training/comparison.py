"""A study's stored predictions -> the figures of each arm, what is between arms, and what becomes of each claim."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from training.quality import Quality, measure
from training.statistics import Interval, detectable_difference, group_bootstrap, holm, mcnemar
from training.study import SMALLEST_EFFECT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.study import Arm, Claim, Study, StudyFolder


FEWEST_SEEDS: Final = 3
"""Of an arm that a claim can be resolved by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One arm over the seeds that have ended."""

    arm: str
    task: str
    split: str
    seeds: int
    n: int
    """Posters that were tested, over all seeds."""
    posters: int
    """Different ones."""
    figures: Mapping[str, Interval]
    """Name of ``training.quality.FIGURES`` -> mean over seeds, with a bootstrap over groups."""
    top1_sd: float
    """Standard deviation over seeds."""
    majority: float
    """Share of the largest class: what a constant answer reaches."""
    against: str = ""
    """Arm that the rest is about."""
    difference: Interval | None = None
    """Of top-1 to that arm on the same posters, with a bootstrap over groups."""
    p_value: float | None = None
    """Of that difference, from the same bootstrap, after Holm over the arms that are compared with the same one."""
    mcnemar: float | None = None
    """Exact p value on the median seed alone, after the same correction."""
    detectable: float | None = None
    """Difference that this many posters, with as many answers that differ, show in 80 % of cases."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``results.json``."""
        return {**asdict(self), "figures": {name: asdict(interval) for name, interval in self.figures.items()}}


class Verdict(StrEnum):
    """What becomes of a claim."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    NOT_RESOLVED = "not resolved"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A claim of the article beside what was measured."""

    claim: Claim
    verdict: Verdict
    ours: Interval | None
    """The figure, or the difference, or the ratio of costs; None where it was not measured."""
    why: str


def compare(study: Study, folder: StudyFolder) -> tuple[ArmResult, ...]:
    """Measure the arms of a study that have ended runs, and compare each with its rival."""
    answers = {arm.name: rows for arm in study.arms if not (rows := read_answers(study, folder, arm)).is_empty()}
    found = {
        name: _measured(study[name], rows, vocabulary(study, folder, study[name])) for name, rows in answers.items()
    }
    families: dict[str, list[str]] = {}
    for name in found:
        rival = study.rival(study[name])
        if rival is not None and rival.name in found:
            families.setdefault(rival.name, []).append(name)
    for first, others in families.items():
        pairs = {other: paired(answers[first], answers[other]) for other in others}
        pairs = {other: rows for other, rows in pairs.items() if not rows.is_empty()}
        differences = {other: difference(rows) for other, rows in pairs.items()}
        by_bootstrap = holm([one.p_value or 1.0 for one in differences.values()])
        by_mcnemar = holm([_median_seed_p(rows) for rows in pairs.values()])
        for other, p_value, exact in zip(pairs, by_bootstrap, by_mcnemar, strict=True):
            found[other] = replace(
                found[other],
                against=first,
                difference=differences[other],
                p_value=p_value,
                mcnemar=exact,
                detectable=_detectable(pairs[other]),
            )
    return tuple(found[arm.name] for arm in study.arms if arm.name in found)


def read_answers(study: Study, folder: StudyFolder, arm: Arm) -> pl.DataFrame:
    """Read what an arm said on the test part of each seed that has ended.

    Returns:
        ``seed, movie_id, group, target, label, probabilities, right``; no row where no run has ended.
    """
    parts: list[pl.DataFrame] = []
    for seed in study.seeds_of(arm):
        if not folder.finished(arm, seed):
            continue
        rows = pl.read_parquet(folder.run(arm, seed).predictions)
        groups = pl.read_parquet(folder.dataset(arm, seed) / "dataset.parquet", columns=["movie_id", "group"])
        several = rows.schema["target"].is_nested()
        right = pl.col("target").list.contains(pl.col("label")) if several else pl.col("label") == pl.col("target")
        parts.append(
            rows.select("movie_id", "target", "label", "probabilities", right=right, seed=pl.lit(seed)).join(
                groups, on="movie_id", maintain_order="left"
            )
        )
    return pl.concat(parts) if parts else pl.DataFrame()


def vocabulary(study: Study, folder: StudyFolder, arm: Arm) -> list[str]:
    """Labels of an arm's task, in the order of its probabilities, from its first run that has ended."""
    seed = next(seed for seed in study.seeds_of(arm) if folder.finished(arm, seed))
    return json.loads(folder.run(arm, seed).manifest.read_text())["vocabulary"]


def qualities(rows: pl.DataFrame, labels: list[str]) -> list[tuple[Quality, NDArray[np.int64]]]:
    """Turn answers into what ``measure`` takes: for each seed the quality and the groups."""
    parts: list[tuple[Quality, NDArray[np.int64]]] = []
    for (_,), some in rows.group_by("seed", maintain_order=True):
        probabilities = np.stack(some["probabilities"].to_list()).astype(float)
        if some.schema["target"].is_nested():
            truth = np.array([[int(label in targets) for label in labels] for targets in some["target"].to_list()])
        else:
            truth = some["target"].replace_strict(labels, list(range(len(labels)))).to_numpy().astype(np.int64)
        parts.append((Quality(probabilities, truth), some["group"].to_numpy()))
    return parts


def paired(first: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Put two arms' answers on the same posters of the same seeds side by side: ``right`` and ``other``."""
    keys = ["seed", "movie_id"]
    return first.select(*keys, "group", "right").join(other.select(*keys, other="right"), on=keys)


def difference(pairs: pl.DataFrame) -> Interval:
    """Mean difference of being right, averaged over the seeds that tested a poster, then resampled by group."""
    gain = pl.col("other").cast(pl.Float64) - pl.col("right").cast(pl.Float64)
    posters = pairs.group_by("movie_id", "group").agg(gain=gain.mean()).sort("movie_id")
    return group_bootstrap(posters["gain"].to_numpy(), posters["group"].to_numpy())


def judge(study: Study, folder: StudyFolder, results: tuple[ArmResult, ...]) -> tuple[Judgement, ...]:
    """Hold each claim of a study against what its runs found.

    - A level ("about 80 %") holds where our whole interval lies within ``within`` of it, and does not where all of it
      lies outside.
    - "Better" holds where the interval of the difference lies above 0 and its p value, after Holm over the claims
      against the same arm, is below 0.05; it does not where the interval excludes an advantage of the smallest effect
      of interest.
    - A ratio of costs is judged as a level.
    """
    by_name, costs = {one.arm: one for one in results}, read_costs(folder)
    gains = _gains(study, folder)
    found: list[Judgement] = []
    for claim in study.claims:
        if claim.figure == "cost":
            known = claim.arm in costs and claim.against in costs
            says = claim.says or 1.0
            ratio = _ratio(costs[claim.arm], costs[claim.against]) if known else None
            found.append(_judge_level(claim, ratio, claim.within * says))
        elif claim.against:
            found.append(_judge_better(claim, *gains.get((claim.arm, claim.against), (None, 1.0))))
        else:
            result = by_name.get(claim.arm)
            found.append(_judge_level(claim, result.figures[claim.figure] if result else None, claim.within))
    return tuple(_with_enough_seeds(one, by_name) for one in found)


def _with_enough_seeds(one: Judgement, results: Mapping[str, ArmResult]) -> Judgement:
    """Resolve nothing by too few seeds: an interval over posters does not hold the chance in training."""
    seeds = results[one.claim.arm].seeds if one.claim.arm in results else 0
    if one.claim.figure == "cost" or one.verdict is Verdict.NOT_MEASURED or seeds >= FEWEST_SEEDS:
        return one
    why = f"{one.why}; {seeds} seed(s), too few to resolve anything"
    return replace(one, verdict=Verdict.NOT_RESOLVED, why=why)


def read_costs(folder: StudyFolder) -> dict[str, Interval]:
    """Read what a poster's training step costs with each arm, in seconds of CPU; empty where it was not measured."""
    if not folder.cost.exists():
        return {}
    stored = json.loads(folder.cost.read_text())["arms"]
    return {name: Interval(**{key: one[key] for key in ("estimate", "low", "high")}) for name, one in stored.items()}


def _gains(study: Study, folder: StudyFolder) -> dict[tuple[str, str], tuple[Interval, float]]:
    """Difference and corrected p value of each pair of arms that a claim is about."""
    wanted = {(one.arm, one.against) for one in study.claims if one.against and one.figure != "cost"}
    names = sorted({name for pair in wanted for name in pair})
    answers = {name: read_answers(study, folder, study[name]) for name in names}
    families: dict[str, dict[str, Interval]] = {}
    for arm, against in sorted(wanted):
        if answers[arm].is_empty() or answers[against].is_empty():
            continue
        pairs = paired(answers[against], answers[arm])
        if not pairs.is_empty():
            families.setdefault(against, {})[arm] = difference(pairs)
    return {
        (arm, against): (gain, p_value)
        for against, gains in families.items()
        for (arm, gain), p_value in zip(
            gains.items(), holm([one.p_value or 1.0 for one in gains.values()]), strict=True
        )
    }


def _judge_better(claim: Claim, gain: Interval | None, p_value: float) -> Judgement:
    if gain is None:
        return _unmeasured(claim)
    low, high = 100 * gain.low, 100 * gain.high
    why = f"{100 * gain.estimate:+.1f} points [{low:+.1f}, {high:+.1f}], p = {p_value:.2g}"
    verdict = Verdict.NOT_RESOLVED
    if gain.high < SMALLEST_EFFECT:
        verdict, why = Verdict.DOES_NOT_HOLD, f"{why}: an advantage of {100 * SMALLEST_EFFECT:.0f} point is excluded"
    elif gain.low > 0 and p_value < 0.05:  # noqa: PLR2004 - the level of a 95 % interval
        verdict = Verdict.HOLDS
    return Judgement(claim=claim, verdict=verdict, ours=gain, why=why)


def _judge_level(claim: Claim, ours: Interval | None, within: float) -> Judgement:
    if ours is None:
        return _unmeasured(claim)
    low, high = (claim.says or 0.0) - within, (claim.says or 0.0) + within
    why = f"{ours.estimate:.3f} [{ours.low:.3f}, {ours.high:.3f}]; to hold, all of it within {low:.3f} to {high:.3f}"
    verdict = Verdict.NOT_RESOLVED
    if low <= ours.low and ours.high <= high:
        verdict = Verdict.HOLDS
    elif ours.high < low or ours.low > high:
        verdict = Verdict.DOES_NOT_HOLD
    return Judgement(claim=claim, verdict=verdict, ours=ours, why=why)


def _unmeasured(claim: Claim) -> Judgement:
    return Judgement(claim=claim, verdict=Verdict.NOT_MEASURED, ours=None, why="no run of it has ended")


def _ratio(one: Interval, other: Interval) -> Interval:
    """Ratio of two costs; its ends are those of the worst cases."""
    return Interval(estimate=one.estimate / other.estimate, low=one.low / other.high, high=one.high / other.low)


def _measured(arm: Arm, rows: pl.DataFrame, labels: list[str]) -> ArmResult:
    each = rows.group_by("seed").agg(pl.col("right").mean())["right"]
    seeds = len(each)
    counts = rows.explode("target")["target"] if rows.schema["target"].is_nested() else rows["target"]
    most = int(counts.value_counts(sort=True)["count"][0])
    return ArmResult(
        arm=arm.name,
        task=arm.task,
        split=str(arm.split),
        seeds=seeds,
        n=len(rows),
        posters=rows["movie_id"].n_unique(),
        figures=measure(qualities(rows, labels)),
        top1_sd=float(np.std(each.to_numpy(), ddof=1)) if seeds > 1 else 0.0,
        majority=most / len(rows),
    )


def _median_seed_p(pairs: pl.DataFrame) -> float:
    """McNemar's test on the seed at which the other arm does as well as it does at the median."""
    ranked = pairs.group_by("seed").agg(pl.col("other").mean()).sort("other", "seed")
    seed = int(ranked["seed"][(len(ranked) - 1) // 2])
    some = pairs.filter(pl.col("seed") == seed)
    return mcnemar(some["right"].to_numpy(), some["other"].to_numpy())


def _detectable(pairs: pl.DataFrame) -> float:
    """Smallest difference that these posters could have shown, given how often the two arms disagree."""
    disagreement = float((pairs["right"] != pairs["other"]).mean() or 0.0)  # pyright: ignore[reportArgumentType]
    return detectable_difference(disagreement, pairs["movie_id"].n_unique()) if disagreement else 0.0
