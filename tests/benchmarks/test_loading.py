"""The loading benchmark measures what it says, on every loader that is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.findings import Options, Role
from benchmarks.loading import BASELINE, OURS, QUICK, ROOF, Contestant, measure
from benchmarks.peers.loader import Setting
from crawler.errors import UnusableInput, WorkFailed


def test_quick_form_has_rates_ratios_and_a_roof(tmp_path: Path, options: Options) -> None:
    """Ours, the baseline and the roof; the others are named with the reason why they are not there."""
    found = measure(options)
    rows = {row.name: row for row in found.rows}
    assert set(rows) == set(QUICK)
    assert (rows[OURS].role, rows[BASELINE].role, rows[ROOF].role) == (Role.OURS, Role.PEER, Role.ROOF)
    assert all(lap.wall_s > 0 and lap.cpu_s > 0 and lap.peak_bytes > 2**20 for row in found.rows for lap in row.laps)
    assert len({row.units for row in found.rows}) == 1
    assert found.missing["LitData"] == "left out of a quick run"
    assert "torch" in found.versions


def test_a_loader_that_stops_says_how_to_see_why(tmp_path: Path) -> None:
    """The message has its last line and a command that repeats it."""
    setting = Setting(batch_size=2, threads=1, size=16)
    contestant = Contestant(name=ROOF, python=Path(sys.executable), folder=tmp_path, setting=setting, units=2)
    with pytest.raises(
        WorkFailed, match=r"peer decode only: stopped with .*dataset\.txt.*; run `.* epoch loading_roof"
    ):
        contestant.lap()


def test_too_few_posters_are_refused(tmp_path: Path, options: Options) -> None:
    """The message says how many there are."""
    (tmp_path / "none").mkdir()
    with pytest.raises(UnusableInput, match="0 JPEGs can be read there; expected at least 32"):
        measure(Options(posters=tmp_path / "none", cache=options.cache, scratch=options.scratch, quick=True))
