"""The benchmark of bulk scoring works; what it finds is not asserted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks.scoring import scoring

if TYPE_CHECKING:
    from pathlib import Path


def test_benchmark_sets_ours_beside_the_engine_alone(model: Path, archive: Path, tmp_path: Path) -> None:
    """It writes its measurements and says the share of the roof."""
    summary = scoring(model, archive, output=tmp_path, rounds=2)
    written = json.loads((tmp_path / "scoring.json").read_text())
    assert [entry["name"] for entry in written["measurements"]] == ["keyart", "engine alone"]
    assert any(sentence.startswith("share of the engine alone: ") for sentence in summary.verdict)
