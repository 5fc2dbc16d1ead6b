"""A study's stored results -> tables of plain values, the same for the page and for Markdown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.comparison import compare, judge, read_costs
from training.quality import FIGURES
from training.study import SMALLEST_EFFECT, Study, StudyFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.comparison import ArmResult, Judgement
    from training.statistics import Interval

_NAMES = {
    "top1": "top-1",
    "top3": "top-3",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "map": "mAP",
    "ece": "ECE",
    "brier": "Brier",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table with what a reader must know of it."""

    heading: str
    note: str
    head: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]

    def markdown(self) -> str:
        """Write it for a document."""
        lines = [f"## {self.heading}", "", self.note, ""]
        if self.rows:
            lines += [_line(self.head), _line(["---"] * len(self.head)), *(_line(row) for row in self.rows), ""]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTables:
    """What a study found, in tables, and what they were made from."""

    study: Study
    folder: StudyFolder
    results: tuple[ArmResult, ...]
    judgements: tuple[Judgement, ...]
    costs: dict[str, Interval]
    manifests: tuple[dict[str, Any], ...]
    """Of all runs that have ended."""

    @classmethod
    def read(cls, folder: StudyFolder) -> StudyTables:
        """Compare the arms of a study, from its stored results alone.

        Raises:
            UnusableInput: The folder holds no study.
        """
        study = folder.read()
        results = compare(study, folder)
        manifests = [
            json.loads(folder.run(arm, seed).manifest.read_text())
            for arm in study.arms
            for seed in study.seeds_of(arm)
            if folder.finished(arm, seed)
        ]
        return cls(
            study=study,
            folder=folder,
            results=results,
            judgements=judge(study, folder, results),
            costs=read_costs(folder),
            manifests=tuple(manifests),
        )

    def all(self) -> tuple[Table, ...]:
        """Give all tables in their order."""
        return (self.claims(), self.power(), self.arms(), self.comparisons(), self.splits(), self.cost(), self.origin())

    def claims(self) -> Table:
        """Each claim beside ours."""
        return Table(
            heading="Claims of the article",
            note=(
                'A level holds where all of our 95 % interval is near it; "better" holds where the interval of the '
                "paired difference lies above 0 and its p value, after Holm, is below 0.05, and does not where an "
                f"advantage of {100 * SMALLEST_EFFECT:.0f} point is excluded. Everything else is not resolved."
            ),
            head=("claim", "the article", "ours", "verdict"),
            rows=tuple((one.claim.text, _says(one), one.why, str(one.verdict)) for one in self.judgements),
        )

    def power(self) -> Table:
        """What the comparisons could have shown."""
        compared = [one for one in self.results if one.difference is not None]
        return Table(
            heading="Power",
            note=(
                f"The smallest effect of interest is {100 * SMALLEST_EFFECT:.0f} point. Detectable is the difference "
                "that so many different posters show in 80 % of cases at the 5 % level, given how often the two arms "
                "disagreed; a comparison whose detectable difference is larger cannot resolve the smallest effect."
            ),
            head=("arm", "against", "posters", "detectable", "resolves 1 point"),
            rows=tuple(
                (
                    one.arm,
                    one.against,
                    one.posters,
                    f"{100 * (one.detectable or 0):.1f} points",
                    "yes" if (one.detectable or 0) <= SMALLEST_EFFECT else "no",
                )
                for one in compared
            ),
        )

    def arms(self) -> Table:
        """Every figure of every arm."""
        return Table(
            heading="Every arm",
            note=(
                "Means over seeds with 95 % intervals by bootstrap over groups of related movies; sd is over seeds. "
                "Each seed divides the posters anew. Split `grouped` is the fair arm, `article` the one as written: "
                "chosen and measured on the same 20 %. Of ECE and Brier less is better."
            ),
            head=("arm", "split", "seeds", "posters", "majority", *(_NAMES[name] for name in FIGURES), "sd of top-1"),
            rows=tuple(
                (
                    one.arm,
                    one.split,
                    one.seeds,
                    one.posters,
                    f"{one.majority:.1%}",
                    *(_figure(one.figures[name], share=name in {"top1", "top3"}) for name in FIGURES),
                    f"{one.top1_sd:.1%}",
                )
                for one in self.results
            ),
        )

    def comparisons(self) -> Table:
        """Each arm against its rival."""
        return Table(
            heading="Paired comparisons of top-1",
            note=(
                "On the same posters of the same seeds. p: bootstrap over groups, and McNemar's exact test on the "
                "median seed alone, each after Holm over the arms with the same rival."
            ),
            head=("arm", "against", "difference in points, 95 %", "p", "p, McNemar"),
            rows=tuple(
                (
                    one.arm,
                    one.against,
                    f"{100 * gain.estimate:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]",
                    f"{one.p_value:.2g}",
                    f"{one.mcnemar:.2g}",
                )
                for one in self.results
                if (gain := one.difference) is not None
            ),
        )

    def splits(self) -> Table:
        """Relatives across the split, before and after grouping."""
        rows: list[tuple[object, ...]] = []
        for path in sorted((self.folder.path / "datasets").glob("*/dataset.json")):
            card = json.loads(path.read_text())
            report = card["report"]
            before, after = report["leaks_before"]["any"], report["leaks_after"]["any"]
            counts = [report["splits"].get(split, 0) for split in ("train", "validation", "test")]
            rows.append((path.parent.name, card["split"]["scheme"], *counts, before, after, card["digest"][:12]))
        return Table(
            heading="Splits",
            note=(
                "Held-out movies with a relative (same collection, same title, near-identical poster) among the "
                "training posters: under a split movie by movie, and under the one that was used."
            ),
            head=("dataset", "scheme", "train", "validation", "test", "relatives before", "after", "digest"),
            rows=tuple(rows),
        )

    def cost(self) -> Table:
        """What a training step costs with each arm."""
        first = next(iter(self.costs.values()), None)
        return Table(
            heading="Cost",
            note=(
                "One poster's training step: median, least and most of the rounds, all arms in turn in one process; "
                "CPU time of all threads on a CPU, time on the wall on a GPU."
                if self.costs
                else "Not measured in this study; `keyart experiment ... --cost` measures it."
            ),
            head=("arm", "ms a poster", "times the first"),
            rows=tuple(
                (
                    name,
                    f"{1000 * one.estimate:.1f} [{1000 * one.low:.1f}, {1000 * one.high:.1f}]",
                    f"{one.estimate / first.estimate:.2f}" if first else "",
                )
                for name, one in self.costs.items()
            ),
        )

    def origin(self) -> Table:
        """What the runs were made with."""
        rows = {("revision", str(one["revision"])): None for one in self.manifests} | {
            ("machine", _machine(one["machine"])): None for one in self.manifests
        }
        rows |= {("weights", str(one["initial_weights"])): None for one in self.manifests if "initial_weights" in one}
        rows |= {
            ("versions", ", ".join(f"{name} {version}" for name, version in one["versions"].items())): None
            for one in self.manifests
        }
        rows |= {("precision", str(one["precision"])): None for one in self.manifests if "precision" in one}
        return Table(
            heading="How it was made",
            note=f"{len(self.manifests)} runs have ended. The run.json of each has recipe, digests, seed and versions.",
            head=("what", "which"),
            rows=tuple(rows),
        )


def _says(one: Judgement) -> str:
    says, claim = one.claim.says, one.claim
    if claim.figure == "cost":
        return f"{says:.1f} times" if says is not None else ""
    named = "" if claim.figure == "top1" else f" {_NAMES[claim.figure]}"
    level = f"{says:.1%}{named}" if says is not None else ""
    return level or "better"


def _figure(one: Interval, *, share: bool) -> str:
    if share:
        return f"{one.estimate:.1%} [{one.low:.1%}, {one.high:.1%}]"
    return f"{one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _machine(machine: dict[str, Any]) -> str:
    gpus = ", ".join(machine.get("gpus", [])) or "no GPU"
    return f"{machine.get('cpu')}, {machine.get('cores')} cores, {machine.get('memory_gib')} GiB, {gpus}"


def _line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"
