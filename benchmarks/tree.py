"""A process -> what it and everything below it used: CPU time, and the most memory at once."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

LOOK_S: Final = 0.5
"""Between two looks at the memory of a tree; a look costs about a millisecond a process."""


def descendants(root: int, known: dict[int, int] | None = None) -> set[int]:
    """Give a process and everything below it.

    Example:
        >>> os.getpid() in descendants(os.getppid())
        True
    """
    parents = known if known is not None else {pid: parent for pid, (parent, _) in _table().items()}
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def cpu_s(root: int) -> float:
    """CPU seconds that a process and everything below it have used, children that have ended included."""
    table = _table()
    tree = descendants(root, {pid: parent for pid, (parent, _) in table.items()})
    return sum(table[pid][1] for pid in tree if pid in table) / os.sysconf("SC_CLK_TCK")


def memory_bytes(root: int) -> int:
    """Memory of a process and everything below it now; what several share is counted once."""
    return sum(_proportional_bytes(pid) for pid in descendants(root))


class MemoryWatch:
    """Looks at a tree's memory while the block runs.

    Example:
        >>> with MemoryWatch(os.getpid()) as watch:
        ...     pass
        >>> watch.peak_bytes > 2**20
        True
    """

    def __init__(self, root: int) -> None:
        """Watch ``root`` and everything below it."""
        self._root, self._over = root, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_bytes = 0

    def _look(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, memory_bytes(self._root))
            if self._over.wait(LOOK_S):
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, memory_bytes(self._root))


def births(root: int) -> dict[int, str]:
    """Give a process and everything below it, each with the time at which it began: together they name it for good."""
    return {pid: born for pid in descendants(root) if (born := _born(pid))}


def end(processes: Mapping[int, str]) -> None:
    """Kill those of ``births`` that are still there."""
    for pid, born in processes.items():
        if _born(pid) == born:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _born(pid: int) -> str:
    with contextlib.suppress(OSError):  # it is gone
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _table() -> dict[int, tuple[int, int]]:
    """Process -> its parent, and ticks of CPU time."""
    table: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                table[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    return table


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):  # it ended, or is another user's
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0
