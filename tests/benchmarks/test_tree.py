"""What a process left behind is ended, and nothing else."""

from __future__ import annotations

import os
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
        parent.send_signal(signal.SIGKILL)
    assert {parent.pid, child} == set(started)
    end({os.getpid(): "another"})
    end(started)
    assert births(child).get(child) != started[child] or _is_dead(child)


def _is_dead(pid: int) -> bool:
    """Killed, and waiting for whoever adopted it."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - as the kernel has it
        return stat.read().rpartition(")")[2].split()[0] in {"Z", "X"}
