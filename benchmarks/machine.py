"""This machine -> what must stand beside every figure that was measured on it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FLAGS: Final = ("avx2", "avx512f", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")
"""Of the processor, the ones that our kernels and engines care for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a benchmark ran."""

    processor: str
    flags: tuple[str, ...]
    """The vector instructions that it has, of those that matter here."""
    cores: int
    """That this process may use."""
    memory_bytes: int
    gpu: str | None
    """Name and driver; None where there is none."""
    system: str
    python: str
    versions: Mapping[str, str]
    """Of the packages that took part."""

    def __str__(self) -> str:
        """One line for under a table."""
        gpu = self.gpu or "no GPU"
        vectors = ", ".join(self.flags) or "no wide vectors"
        size = f"{self.cores} cores of {self.processor} ({vectors}), {self.memory_bytes / 2**30:.0f} GiB"
        return f"{size}, {gpu}, {self.system}, Python {self.python}"

    @property
    def slug(self) -> str:
        """A folder name: the processor and the number of cores."""
        name = re.sub(r"[^a-z0-9]+", "-", self.processor.lower()).strip("-")
        return f"{name}-{self.cores}-cores" + ("-gpu" if self.gpu else "")


def this_machine(packages: Iterable[str]) -> Machine:
    """Look at this machine.

    Args:
        packages: Whose versions matter; those that are not installed are left out.
    """
    described = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", described, re.MULTILINE)
    has = set((re.search(r"^(?:flags|Features)\s*: (.+)$", described, re.MULTILINE) or [""])[0].split())
    return Machine(
        processor=model[1] if model else platform.machine(),
        flags=tuple(flag for flag in FLAGS if flag in has),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpu=_gpu(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions=installed(packages),
    )


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Give the versions of those packages that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _gpu() -> str | None:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    return "; ".join(line.replace(", ", ", driver ") for line in found.stdout.strip().splitlines()) or None
