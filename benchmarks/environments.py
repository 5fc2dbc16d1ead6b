"""A peer's packages -> an interpreter that has them: peers whose libraries cannot stand beside ours get their own.

Each environment is made once, with uv, under the user's cache, and made again when its line here or the Python changes.
A *layered* one sees our packages behind its own, so that a peer runs on the very torch that we run on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What a peer needs."""

    packages: tuple[str, ...]
    layered: bool = False
    """Whether it sees our packages behind its own."""
    ours: tuple[str, ...] = ()
    """Dependencies that are not installed again: ours serve (layered only)."""
    python: str | None = None
    """Version of Python; ours where left out."""
    from_source: tuple[str, ...] = ()
    """Packages that are compiled here."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Environment variables while installing."""


TORCH: Final = ("torch", "torchvision")
ENVIRONMENTS: Final = {
    "pillow-simd": Environment(
        packages=("numpy>=2", "pillow-simd>=9.5", "setuptools"),
        from_source=("pillow-simd",),
        settings={"CC": "cc -mavx2"},
    ),
    "opencv": Environment(packages=("numpy>=2", "opencv-python-headless>=4.11")),
    "scikit-image": Environment(packages=("numpy>=2", "scikit-image>=0.25", "pillow")),
    "img2dataset": Environment(packages=("img2dataset>=1.45",), python="3.11"),
    "litdata": Environment(packages=("litdata>=0.2.60",), layered=True, ours=(*TORCH, "numpy")),
    "mosaicml-streaming": Environment(packages=("mosaicml-streaming>=0.13",), layered=True, ours=TORCH),
    "webdataset": Environment(packages=("webdataset>=1.0",), layered=True, ours=(*TORCH, "numpy")),
    "litserve": Environment(packages=("litserve>=0.2.16",), layered=True, ours=(*TORCH, "numpy")),
    "imagededup": Environment(packages=("imagededup>=0.3.3",), layered=True, ours=(*TORCH, "numpy", "scipy")),
}
"""Name -> what it needs. (pillow-simd wants pillow's place; mosaicml-streaming wants numpy below 2.2.)"""


def interpreter(name: str, cache: Path) -> Path:
    """Make an environment, or take the one that was made before.

    Args:
        name: Of ``ENVIRONMENTS``.
        cache: Folder for environments.

    Returns:
        Its python.

    Raises:
        WorkFailed: It cannot be made: no uv, no package index, no compiler; the message is the tool's last line.
    """
    wanted = ENVIRONMENTS[name]
    key = hashlib.sha256(repr((sys.version, sys.prefix if wanted.layered else "", wanted)).encode()).hexdigest()[:12]
    folder = cache / "environments" / f"{name}-{key}"
    python, done = folder / "bin" / "python", folder / ".done"
    if done.exists():
        return python
    uv = find_uv(name)
    folder.mkdir(parents=True, exist_ok=True)
    _call(name, [uv, "venv", "--quiet", "--clear", "--python", wanted.python or sys.executable, folder])
    if wanted.layered:
        _layer(folder)
    install = [uv, "pip", "install", "--quiet", "--python", python, *wanted.packages]
    install += [f"--no-binary={package}" for package in wanted.from_source]
    if wanted.ours:
        excluded = folder / "ours.txt"
        excluded.write_text("".join(f"{package}\n" for package in wanted.ours))
        install += ["--excludes", excluded]
    _call(name, install, wanted.settings)
    done.touch()
    return python


def package_version(python: Path, package: str) -> dict[str, str]:
    """Ask an environment for the version of a package: one entry, or none where it is not there."""
    script = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False)
    return {package: done.stdout.strip()} if done.returncode == 0 else {}


def find_uv(name: str) -> Path:
    """Find uv beside our interpreter or on the path.

    Raises:
        WorkFailed: It is not there.
    """
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    if found is None:
        msg = f"benchmark peer {name}: needs an environment of its own, which uv makes; pip install uv"
        raise WorkFailed(msg)
    return Path(found)


def _layer(folder: Path) -> None:
    """Let the environment see our packages, after its own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sites = {sysconfig.get_paths()[key] for key in ("purelib", "platlib")}
    (folder / "lib" / version / "site-packages" / "zz-keyart.pth").write_text("".join(f"{site}\n" for site in sites))


def _call(name: str, command: Sequence[str | Path], settings: Mapping[str, str] | None = None) -> None:
    words = [str(word) for word in command]
    environment = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    environment |= settings or {}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        said = [line.strip() for line in done.stderr.strip().splitlines() if line.strip()]
        msg = f"benchmark peer {name}: cannot be installed ({said[-1] if said else f'exit code {done.returncode}'})"
        raise WorkFailed(msg)
