"""The name of a question -> the module that answers it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from benchmarks.findings import Findings, Measure, Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One benchmark."""

    title: str
    line: str
    """For the overview of `keyart bench`."""
    module: str
    """Has ``measure(options) -> Findings``; the docstring says the method and why it comes out so."""
    why: str
    """Two sentences for the page of all results."""
    minutes: float
    """What it takes in full, five rounds on two cores: what a budget is spent by."""
    steps: int = 0
    """Pieces of work that ``options.advance`` is told of in five rounds; 0 where that is not known beforehand."""

    def answer(self, options: Options) -> Findings:
        """Measure; the module and its libraries are imported only now."""
        measure = cast("Measure", importlib.import_module(self.module).measure)
        return measure(options)


QUESTIONS: Final[dict[str, Question]] = {
    "preprocessing": Question(
        title="Preparing posters",
        line="Every way to make a network's square from a poster, side by side.",
        module="benchmarks.preprocessing",
        why=(
            "Three quarters of our time is libjpeg-turbo's decode, which every contender has to do; what is left is "
            "one compiled pass per poster, where the others make bytes between passes and normalise in three more. "
            "The four methods cost nearly the same, for all of them decode the whole poster."
        ),
        minutes=9,
    ),
    "loading": Question(
        title="Loading shuffled epochs",
        line="Our loader and five others, from their own formats to batches.",
        module="benchmarks.loading",
        why=(
            "The rivals decode and resize with Pillow in worker processes and send every batch of 19 MB through "
            "shared memory; ours decodes, resizes, normalises and stores in threads, straight into memory that is "
            "used again. What is left is the decode, which the roof shows."
        ),
        minutes=5,
    ),
    "crawling": Question(
        title="Crawling to committed shards",
        line="Posters a second from a local host into shards, beside img2dataset and a loop that keeps nothing.",
        module="benchmarks.crawling",
        why=(
            "img2dataset opens a connection for every poster in a thread for every request, so https costs it a "
            "handshake each; our connections live as long as the crawl. What keeps us below the loop that throws "
            "bodies away is the decode that verifies each poster, the hashes and the tar."
        ),
        minutes=6,
    ),
}
