"""The question about bulk scoring answers; how fast anything is, is not asserted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.scoring import DISK, PLAIN, RAY, measure, ours, roof
from serving.engine import Precision

if TYPE_CHECKING:
    from benchmarks.findings import Options


def test_scoring_stands_beside_the_plain_script_and_the_engine_alone(options: Options) -> None:
    """The same posters for all, and what the whole catalogue takes is worked out from the rate."""
    found = measure(options)
    rows = {row.name: row for row in found.rows}
    assert set(rows) == {ours(Precision.FP32), roof(Precision.FP32), PLAIN}
    own = rows[ours(Precision.FP32)]
    assert own.extra["45,466 posters, s"] == 45_466 / own.measurement.units_per_s
    assert RAY in found.missing
    assert [table.title for table in found.tables] == [DISK], "drawn posters have no labels to lose accuracy on"
    assert all(float(weight) > 0 for weight in found.tables[0].rows[0])
