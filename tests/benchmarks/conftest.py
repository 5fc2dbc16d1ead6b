"""What the questions are given in tests: the quick form, and a folder of drawn posters that all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.findings import QUICK_ROUNDS, Options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posters are drawn once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def options(tmp_path: Path, cache: Path) -> Options:
    """The quick form."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Options(quick=True, rounds=QUICK_ROUNDS, threads=2, cache=cache, scratch=scratch)
