"""Counts of finished work -> a progress bar on a terminal, and nothing in a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Generator


class Advance(Protocol):
    """Receives progress from a library function; libraries never draw."""

    def __call__(self, done: int, note: str = "") -> None:
        """Say that ``done`` more units are finished; ``note`` replaces the text beside the bar."""


def silent(done: int, note: str = "") -> None:
    """Ignore progress: the default of every library function."""


@contextmanager
def progress_bar(label: str, total: int | None) -> Generator[Advance]:
    """Draw a bar on stderr while the block runs, if stderr is a terminal.

    Args:
        label: What is being done, one or two words.
        total: Units of work, or None where it is not known beforehand.

    Yields:
        The function to call with finished units.
    """
    if not sys.stderr.isatty():
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(done: int, note: str = "") -> None:
            bar.advance(task, done)
            if note:
                bar.update(task, note=note)

        yield advance
