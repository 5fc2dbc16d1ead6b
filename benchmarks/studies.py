"""Results of `keyart experiment` -> how accurate each way to prepare posters was."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scipy import stats

from dataloading.preprocess import Method

if TYPE_CHECKING:
    from pathlib import Path

CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One arm of a study."""

    study: str
    task: str
    method: Method
    seeds: int
    top1: float
    low: float
    high: float
    """95 % interval: the study's own, or Student's over its seeds."""

    def __str__(self) -> str:
        return f"{self.top1:.1%} ({self.low:.1%} to {self.high:.1%})"


def read_accuracies(folder: Path | None) -> list[Accuracy]:
    """Gather the arms of all studies under a folder that differ in the method of preparation.

    Args:
        folder: Searched with its subfolders; None, or one without studies, gives none.
    """
    found: list[Accuracy] = []
    for path in sorted(folder.rglob("*.json")) if folder is not None else []:
        whole: Any = json.loads(path.read_text())
        if isinstance(whole, dict) and {"study", "results"} <= set(whole):
            found += _of_study(whole)
    return found


def _of_study(whole: dict[str, Any]) -> list[Accuracy]:
    methods = {arm["name"]: _method(arm) for arm in whole["study"]["arms"]}
    found: list[Accuracy] = []
    for one in whole["results"]:
        method, bounds = methods.get(one["arm"]), _bounds(one)
        if method is None or bounds is None:
            continue
        top1, low, high = bounds
        split = f", {one['split']} split" if one.get("split") else ""
        found.append(
            Accuracy(
                study=whole["study"]["name"],
                task=f"{one['task']}{split}",
                method=method,
                seeds=one["seeds"],
                top1=top1,
                low=low,
                high=high,
            )
        )
    return found


def _method(arm: dict[str, Any]) -> Method | None:
    said = [word.partition("=")[2] for word in arm.get("corrections", ()) if word.startswith("preprocess.method=")]
    name = said[-1] if said else arm["name"]
    return Method(name) if name in set(Method) else None


def _bounds(one: dict[str, Any]) -> tuple[float, float, float] | None:
    """Top-1 with its interval: the study's own, or Student's over the seeds."""
    given = one.get("figures", {}).get("top1")
    if given is not None:
        return given["estimate"], given["low"], given["high"]
    if one.get("top1_sd") is None or one["seeds"] < 2:  # noqa: PLR2004 - one seed has no spread
        return None
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, one["seeds"] - 1)) * one["top1_sd"] / math.sqrt(one["seeds"])
    return one["top1"], one["top1"] - half, one["top1"] + half
