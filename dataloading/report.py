"""Counts of a dataset -> the text that a user reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataloading.split import Leaks

BAR: Final = 40
"""Characters of the longest bar of a histogram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What a dataset holds, and what its grouping prevented."""

    dataset: str
    task: str
    scheme: str
    posters: int
    counts: dict[str, dict[str, int]]
    """Label -> split -> posters; with several labels a movie, a poster counts for each of them."""
    splits: dict[str, int]
    """Split -> posters."""
    failed: int
    """Rows of the archive without a poster; they never enter."""
    unlabelled: int
    """Posters in the archive that the task leaves out."""
    groups: int
    """Groups of two or more movies."""
    largest_group: int
    leaks_before: Leaks
    """Movies outside training with a relative in it, had each movie been split for itself."""
    leaks_after: Leaks
    """The same in this dataset; nothing but zeros where the scheme is ``grouped``."""
    digest: str
    """SHA-256 of the table."""

    def __str__(self) -> str:
        lines = [
            f"{self.posters:,} posters for task {self.task} ({self.scheme} split) in {self.dataset}",
            *count_lines(self.counts, self.splits),
            f"left out: {self.failed:,} that could not be fetched, {self.unlabelled:,} that are not of this task",
            f"groups of related movies: {self.groups:,}, the largest of {self.largest_group}",
            "movies outside training with a relative in it:",
            f"  split movie by movie  {self.leaks_before}",
            f"  this split            {self.leaks_after}",
        ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetView:
    """What a dataset holds, for looking at."""

    dataset: str
    task: str
    scheme: str
    posters: int
    archive: str
    digest: str
    counts: dict[str, dict[str, int]]
    """Label -> split -> posters."""
    splits: dict[str, int]
    """Split -> posters."""
    histogram: dict[str, int]
    """First genre -> movies of the catalogue, or label -> posters where no catalogue was given."""
    histogram_of: str

    def __str__(self) -> str:
        lines = [
            f"{self.posters:,} posters for task {self.task} ({self.scheme} split) in {self.dataset}",
            *count_lines(self.counts, self.splits),
            f"posters in {self.archive}, table sha256:{self.digest[:12]}",
            "",
            self.histogram_of,
            *histogram_lines(self.histogram),
        ]
        return "\n".join(lines)


def count_lines(counts: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]) -> list[str]:
    """Set counts by label and split as a table."""
    width = max(len(label) for label in [*counts, "all"])
    used = [split for split, count in totals.items() if count]
    return [
        f"{'':{width}}  " + "  ".join(f"{split:>10}" for split in used),
        *(
            f"{label:{width}}  " + "  ".join(f"{by_split.get(split, 0):>10,}" for split in used)
            for label, by_split in [*counts.items(), ("all", totals)]
        ),
    ]


def histogram_lines(counts: Mapping[str, int]) -> list[str]:
    """Draw counts as bars, the largest first.

    Example:
        >>> histogram_lines({"horror": 1, "drama": 2})
        ['drama   ████████████████████████████████████████ 2', 'horror  ████████████████████ 1']
    """
    width, largest = max(len(name) for name in counts), max(counts.values())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{name:{width}}  {'█' * round(BAR * count / largest) or '▏'} {count:,}" for name, count in ordered]
