"""A time budget -> every question that fits into it, each in a process of its own, and the page of all results.

A question that was answered before is not asked again: the same command goes on where it stopped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import benchmarks
from benchmarks.machine import this_machine
from benchmarks.page import page
from benchmarks.questions import QUESTIONS
from benchmarks.result import read_results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ask import Wish

ROOT: Final = Path(benchmarks.__file__).resolve().parents[1]
QUICK_MINUTES: Final = 0.5
"""What a quick question is taken to need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of each question."""

    folder: Path
    page: Path
    answered: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])
    """Answered before."""
    failed: list[str] = field(default_factory=list[str])
    no_time: list[str] = field(default_factory=list[str])
    """Did not fit into the budget."""

    def __str__(self) -> str:
        """One screen."""
        said = {
            "answered": self.answered,
            "answered before": self.kept,
            "failed": self.failed,
            "left out, for the budget is spent": self.no_time,
        }
        lines = [f"{word}: {', '.join(names)}" for word, names in said.items() if names]
        return "\n".join([*lines, f"results in {self.folder}, the page of all of them in {self.page}"])


def ask_all(
    names: Sequence[str], wish: Wish, out: Path, page_at: Path | None, *, budget_minutes: float, again: bool
) -> Outcome:
    """Answer questions until the budget is spent.

    Args:
        names: Of the questions, in order.
        wish: How to ask them.
        out: Folder of results; this machine has a folder in it.
        page_at: Where the page of all results goes; ``out/benchmarks.md`` where left out.
        budget_minutes: A question that is expected to end after so many minutes is not begun.
        again: Whether to ask what was answered before.
    """
    folder = out / this_machine(()).slug
    folder.mkdir(parents=True, exist_ok=True)
    where = page_at or out / "benchmarks.md"
    outcome, until = Outcome(folder=folder, page=where), time.monotonic() + budget_minutes * 60
    stored = {name for name, result in read_results(folder).items() if result.quick <= wish.quick}
    for name in names:
        minutes = QUICK_MINUTES if wish.quick else QUESTIONS[name].minutes * wish.rounds / 5
        if name in stored and not again:
            outcome.kept.append(name)
        elif time.monotonic() + minutes * 60 > until:
            outcome.no_time.append(name)
        elif _run(name, wish, folder):
            outcome.failed.append(name)
        else:
            outcome.answered.append(name)
        where.write_text(page(out, where))  # whatever happens to the next one, the page is whole
    return outcome


def _run(name: str, wish: Wish, folder: Path) -> int:
    """Ask in a process of its own, so that no question sees the memory or the threads of another."""
    words = [sys.executable, "-m", "keyart", "bench", name, str(folder), "--rounds", str(wish.rounds)]
    words += ["--quick"] if wish.quick else []
    for option, value in (("--posters", wish.posters), ("--threads", wish.threads), ("--studies", wish.studies)):
        words += [option, str(value)] if value is not None else []
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.run(words, check=False, env=environment, stdout=sys.stderr).returncode
