"""The question about training answers; how fast anything is, is not asserted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.findings import Role, figures
from benchmarks.training import OURS, ROOF, TIMM, TUNED, measure

if TYPE_CHECKING:
    from benchmarks.findings import Options


def test_training_stands_beside_a_rival_and_the_step_alone(options: Options) -> None:
    """Same rounds for all; waiting for data and loss are said; what a quick run leaves out is named."""
    found = measure(options)
    rows = {row.name: row for row in found.rows}
    assert set(rows) == {OURS, ROOF, TUNED}
    assert rows[ROOF].role is Role.ROOF
    assert {len(row.laps) for row in found.rows} == {options.rounds}
    assert rows[ROOF].extra["waits for data"] == "0.0%"
    assert all(isinstance(row.extra["loss"], float) for row in found.rows)
    assert figures(rows[OURS], found.rows).roof_share is not None
    assert TIMM in found.missing
    assert "of the step alone" in found.verdict[0]
