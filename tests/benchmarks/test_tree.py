"""What a process left behind is ended, and nothing else."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

from benchmarks.tree import births, end

PARENT = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"


def test_a_child_that_outlives_its_parent_is_ended() -> None:
    """It is known by its number and the time at which it began; a number that another one has now is left alone."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        started = births(parent.pid)
        ends = os.pidfd_open(child)
        parent.send_signal(signal.SIGKILL)
    assert {parent.pid, child} == set(started)
    end({os.getpid(): "another"})
    assert not _ended(ends, 0), "it outlives its parent"
    end(started)
    assert _ended(ends, 60)
    os.close(ends)


def _ended(process: int, timeout_s: float) -> bool:
    """A process's file is readable when it has ended."""
    return bool(select.select([process], [], [], timeout_s)[0])
