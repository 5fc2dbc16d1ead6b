"""What an engine was compiled from and for -> its file, where it was compiled before; anything else compiles anew."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIX: Final = ".plan"
DIGEST_BYTES: Final = 32
"""Of the SHA-256 that begins every file, so that one which was cut short is seen."""
ANY: Final = "any"
"""Device and driver of an engine that runs on all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """All that a compiled engine depends on."""

    network: str
    """SHA-256 of the ONNX file."""
    library: str
    """Name and version of the compiler."""
    device: str
    """Name and compute capability of the GPU."""
    driver: str
    precision: str
    shapes: tuple[tuple[int, ...], ...]
    """Smallest, usual and largest input [b, 3, h, w]."""

    def digest(self) -> str:
        """Name of the engine's file: another one as soon as any field differs."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:32]


def cache_folder() -> Path:
    """Where compiled engines are kept on this machine: ``KEYART_CACHE``, or a folder below the user's caches."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("KEYART_CACHE") or Path(home) / "keyart") / "engines"


def find_or_compile(
    key: EngineKey, folders: list[Path], compile_plan: Callable[[], bytes], accepts: Callable[[bytes], bool]
) -> bytes:
    """Get an engine's bytes.

    Args:
        key: What it must be of.
        folders: Where it may lie; the last one is where a new one is written.
        compile_plan: Makes it.
        accepts: Whether these bytes can be used; those that cannot are compiled anew.

    Raises:
        OSError: The last folder cannot be written.
    """
    name = f"{key.digest()}{SUFFIX}"
    for folder in folders:
        plan = read_plan(folder / name)
        if plan is not None and accepts(plan):
            return plan
    plan = compile_plan()
    write_plan(folders[-1] / name, plan)
    return plan


def read_plan(path: Path) -> bytes | None:
    """Read an engine's bytes; None where there are none, or not those that were written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    plan = content[DIGEST_BYTES:]
    return plan if hashlib.sha256(plan).digest() == content[:DIGEST_BYTES] else None


def write_plan(path: Path, plan: bytes) -> None:
    """Write an engine's bytes so that they are there whole or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(hashlib.sha256(plan).digest() + plan)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
