"""docs/scaling.md is worked out from stored results, and says so where they are missing."""

from __future__ import annotations

import pytest

from benchmarks.paper import BEGIN, END, PAGE, Constants, Size, filled, paper
from crawler.errors import UnusableInput

FOUND = Constants(
    crawl_per_cpu_s=1000.0,
    score_per_s=500.0,
    precision="int8",
    cores=2,
    tar_bytes=14_000.0,
    sidecar_bytes=100.0,
    prediction_bytes=10.0,
    sharing_s=0.01,
    shard_extra_s=0.1,
    efficiency=0.8,
    pairs_per_s=2e9,
)


def test_every_line_follows_from_the_constants() -> None:
    """Politeness is a line of its own; more than one machine works at the efficiency that was measured."""
    lines = dict(
        [part.strip() for part in line.strip("|").split("|", 1)]
        for line in paper(
            FOUND, (Size(posters=1_000_000, machines=1), Size(posters=1_000_000, machines=5))
        ).splitlines()
    )
    assert lines["**politeness**: one host at 20 requests/s"] == "13.9 h | 13.9 h"
    assert lines["crawl, if no host limited it"] == "8 min | 2 min"
    assert lines["score, int8"] == "33 min | 8 min"
    assert lines["archive"] == "14.1 GB | 14.1 GB"
    assert lines["near-identical posters, all pairs, one thread"] == "4 min | 4 min"


def test_the_page_has_its_marks_and_a_missing_result_is_named() -> None:
    """What stands between the marks is the script's; without results it is left as it is."""
    assert PAGE.read_text().index(BEGIN) < PAGE.read_text().index(END)
    with pytest.raises(UnusableInput, match=r"no crawling\.json"):
        filled(PAGE.read_text(), {}, "machine")
