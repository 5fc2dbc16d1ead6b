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
    "training": Question(
        title="Training a ResNet18",
        line="Our loop and loader, torchvision's and timm's loops, and the step alone.",
        module="benchmarks.training",
        why=(
            "Forward, backward and optimiser are nearly all of a step on a CPU, so the number format decides, and then "
            "what the loader takes from the same cores. Ours decodes in threads at a fraction of the CPU time of "
            "Pillow in worker processes, and hands memory over instead of sending it."
        ),
        minutes=6,
    ),
    "scoring": Question(
        title="Bulk scoring",
        line="Shards to committed predictions, beside the engine alone, a plain script and Ray Data.",
        module="benchmarks.scoring",
        why=(
            "Scoring is bound by the engine's arithmetic, so the number format decides: int8 does four times the "
            "multiplications of float32 in an instruction. Decoding and preparing takes about a tenth of the engine's "
            "time on the same cores, where Pillow and NumPy take as much as a fast engine itself."
        ),
        minutes=7,
    ),
    "serving": Question(
        title="Serving over HTTP",
        line="Requests a second and latency at 70 % load, beside Ray Serve, LitServe and bulk scoring.",
        module="benchmarks.serving",
        why=(
            "A request costs HTTP and queueing in the event loop beside the network's arithmetic, so full batches "
            "and few "
            "copies decide. Ray Serve passes each request through a proxy and a replica in two more "
            "processes, LitServe through a queue between processes, and both pay for it on the same cores."
        ),
        minutes=7,
    ),
    "scaling": Question(
        title="More workers",
        line="Crawl and score with 1 to 8 simulated Ray nodes, and what that means for a billion posters.",
        module="benchmarks.scaling",
        why=(
            "Shards are independent: a plan goes out, a receipt comes back, and no poster passes the driver. What is "
            "lost on the way to eight workers is the end of a crawl, when some wait for the last shard, and this "
            "machine's own two cores, which all simulated nodes share."
        ),
        minutes=7,
    ),
    "duplicates": Question(
        title="Near-identical posters",
        line="Grouping the hashes of a whole catalogue, beside imagededup and NumPy.",
        module="benchmarks.duplicates",
        why=(
            "A search among n hashes compares n(n-1)/2 pairs; ours compares several of them in one vector instruction. "
            "imagededup's compiled search compares one at a time and builds a list of all hashes anew for each query."
        ),
        minutes=6,
    ),
}
