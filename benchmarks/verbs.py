"""`keyart bench QUESTION`: thin skins over the modules that measure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from benchmarks import preprocessing_report
from benchmarks.preprocessing import find_posters, measure
from benchmarks.timing import ROUNDS
from crawler.progress import progress_bar


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSummary:
    """What a benchmark found."""

    question: str
    verdict: list[str]
    files: list[str]
    disturbed: bool

    def __str__(self) -> str:
        """One screen."""
        lines = [self.question, *(f"  {sentence}" for sentence in self.verdict)]
        if self.disturbed:
            lines.append("  The machine was busy with other things: trust the ratios, not the rates.")
        return "\n".join([*lines, *(f"  wrote {path}" for path in self.files)])


def preprocessing(
    out: Path = Path("keyart-bench"),
    *,
    posters: Path | None = None,
    count: int = 256,
    rounds: int = ROUNDS,
    quick: Annotated[bool, Parameter(negative="")] = False,
) -> BenchSummary:
    """Measure every way to make a square from a poster, ours and others', side by side.

    Example: keyart bench preprocessing results --posters posters/

    Args:
        out: Folder for preprocessing.json, .md and .svg.
        posters: Folder with JPEGs about 185 pixels wide; drawn posters where left out.
        count: Posters in a lap.
        rounds: That count.
        quick: A few seconds: two rounds of few posters, without what must be built first.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keyart" / "bench"
    cores = len(os.sched_getaffinity(0))
    threads = [cores] if quick else sorted({1, cores}, reverse=True)
    sources = find_posters(posters, 32 if quick else count, cache)
    sources = sources[:1] if quick else sources
    rounds = 2 if quick else rounds
    with progress_bar("rounds", rounds * len(threads) * len(sources)) as advance:
        findings = measure(sources, threads=threads, rounds=rounds, cache=cache, quick=quick, advance=advance)
    files = preprocessing_report.write(findings, out)
    return BenchSummary(
        question="Preparing posters",
        verdict=preprocessing_report.verdict(findings),
        files=[str(path) for path in files],
        disturbed=bool(findings.disturbed),
    )
