"""A contender in a process of its own does its laps, and one that ends is named with its last words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.laps import LapProcess, said
from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lap_is_done_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Time, CPU time and memory are those of that process; what the peer says of a lap comes back."""
    np.save(tmp_path / "hashes.npy", np.array([0, 1, 2**40 - 1], np.uint64))
    job = {"hashes": str(tmp_path / "hashes.npy"), "distance": 4, "threads": 1}
    with LapProcess("NumPy", "duplicates_numpy", job) as peer:
        laps = [peer.lap() for _ in range(2)]
        assert set(peer.versions) == {"numpy", "scipy"}
        assert all(lap.wall_s > 0 and lap.peak_bytes > 10 * 2**20 for lap in laps)
        assert said(peer, "members") == 2


def test_a_peer_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    """The message is one line: the peer, and what it said last."""
    job = {"hashes": str(tmp_path / "none.npy"), "distance": 4, "threads": 1}
    with LapProcess("NumPy", "duplicates_numpy", job) as peer, pytest.raises(WorkFailed) as failed:
        peer.lap()
    assert str(failed.value).startswith("benchmark peer NumPy: FileNotFoundError: ")
