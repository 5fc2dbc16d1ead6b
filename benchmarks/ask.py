"""A question and how to ask it -> a result, written: what every `keyart bench QUESTION` does around its module."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.findings import QUICK_ROUNDS, Options
from benchmarks.machine import this_machine
from benchmarks.posters import default_folder
from benchmarks.questions import QUESTIONS
from benchmarks.result import Result
from crawler.errors import UnusableInput
from crawler.progress import progress_bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How to ask."""

    rounds: int
    quick: bool = False
    posters: Path | None = None
    threads: int | None = None
    """All that this process may use where left out."""
    studies: Path | None = None


def ask(name: str, wish: Wish, folder: Path) -> tuple[Result, list[Path]]:
    """Answer one question and write the answer into ``folder``.

    Args:
        name: Of the question.
        wish: How to ask.
        folder: For ``{name}.json``, ``.parquet``, ``.md`` and ``.svg``.

    Raises:
        UnusableInput: There is no such question, or its input cannot be used.
    """
    if name not in QUESTIONS:
        msg = f"question {name}: expected one of {', '.join(QUESTIONS)}"
        raise UnusableInput(msg)
    question, rounds = QUESTIONS[name], QUICK_ROUNDS if wish.quick else wish.rounds
    load_before, began = os.getloadavg()[0], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="keyart-bench-") as scratch, progress_bar(name, None) as advance:
        options = Options(
            posters=wish.posters or default_folder(),
            rounds=rounds,
            quick=wish.quick,
            threads=wish.threads or len(os.sched_getaffinity(0)),
            cache=cache_folder(),
            scratch=Path(scratch),
            studies=wish.studies,
            advance=advance,
        )
        findings = question.answer(options)
    result = Result(
        question=name,
        title=question.title,
        why=question.why,
        command=_command(name, wish),
        date=datetime.now(UTC).date().isoformat(),
        elapsed_s=time.perf_counter() - began,
        rounds=rounds,
        quick=wish.quick,
        load_before=load_before,
        load_after=os.getloadavg()[0],
        machine=this_machine(findings.versions),
        findings=findings,
    )
    return result, report.write(result, folder)


def cache_folder() -> Path:
    """Where environments of peers and posters that were drawn or enlarged are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "keyart" / "bench"


def _command(name: str, wish: Wish) -> str:
    words = ["keyart bench", name, "OUT"]
    words += ["--posters POSTERS"] if wish.posters or default_folder() else []
    words += ["--quick"] if wish.quick else [f"--rounds {wish.rounds}"]
    words += [f"--threads {wish.threads}"] if wish.threads else []
    return " ".join(words)
