"""Encoded posters -> a batch of normalised squares: the one interface of all implementations."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crawler.records import Reason
    from dataloading.preprocess import Draw, Preprocess

LIMIT_SIDE: Final = 8192
"""Longest side of a poster that is decoded, in pixels: 65 times the pixels of a w780 poster."""

IMPLEMENTATIONS: Final = {
    "reference": ("dataloading.reference", "ReferencePreparer"),
    "native": ("dataloading.native", "NativePreparer"),
    "dali": ("dataloading.dali", "DaliPreparer"),
}
"""Name -> module and class; each takes ``(spec, threads=...)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch, and what became of each of its posters."""

    images: NDArray[np.float32]
    """``[b, 3, size, size]``, normalised by ``spec.mean`` and ``spec.std``; all 0 where there is a reason."""
    reasons: list[Reason | None]
    """Why a poster could not be prepared; None where it was."""


class Preparer(Protocol):
    """Turns encoded posters into a batch."""

    @property
    def spec(self) -> Preprocess:
        """What is done to the posters."""
        ...

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Prepared:
        """Prepare a batch; a poster that does not decode has a reason and a zero image, and is never an exception.

        Args:
            bodies: Encoded posters: JPEG, PNG or WebP.
            draws: What is done to each, as ``dataloading.preprocess.draw`` gives it for the poster's size as it is
                shown (see ``dataloading.jpeg.shown_size``); None is ``spec.for_evaluation()`` for all of them.
            out: float32 ``[b, 3, size, size]``, contiguous, to be filled and returned; None makes a new one.

        Raises:
            UnusableInput: ``draws`` or ``out`` do not fit ``bodies``.
        """
        ...


def make_preparer(spec: Preprocess, implementation: str = "auto", threads: int | None = None) -> Preparer:
    """Choose an implementation.

    Args:
        spec: What is to be done to the posters.
        implementation: ``reference``, ``native``, ``dali``, or ``auto``: ``dali`` on a machine with an NVIDIA GPU,
            ``native`` elsewhere.
        threads: That work at the same time; None means as many as this process may use.

    Raises:
        UnusableInput: There is no such implementation, or its library is not installed.
    """
    name = default_implementation() if implementation == "auto" else implementation
    if name not in IMPLEMENTATIONS:
        msg = f"implementation {implementation!r}: expected auto, {', '.join(IMPLEMENTATIONS)}"
        raise UnusableInput(msg)
    module, kind = IMPLEMENTATIONS[name]
    try:  # each brings a heavy library that the others do without
        return getattr(importlib.import_module(module), kind)(spec, threads=threads)
    except ImportError as error:
        msg = f"implementation {name}: {error}; install what is missing, or use native"
        raise UnusableInput(msg) from error


def default_implementation() -> str:
    """Name what ``auto`` stands for on this machine."""
    return "dali" if Path("/dev/nvidia0").exists() and find_spec("nvidia.dali") else "native"


def batch_memory(
    spec: Preprocess, bodies: Sequence[bytes], draws: Sequence[Draw] | None, out: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Check the arguments of ``Preparer.prepare`` and give the memory to fill.

    Raises:
        UnusableInput: ``draws`` or ``out`` do not fit ``bodies``.
    """
    if draws is not None and len(draws) != len(bodies):
        msg = f"prepare: {len(draws)} draws for {len(bodies)} posters; expected one draw for each poster"
        raise UnusableInput(msg)
    shape = (len(bodies), 3, spec.size, spec.size)
    if out is None:
        return np.empty(shape, np.float32)
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        msg = f"prepare: out is {out.dtype} {out.shape}; expected float32 {shape}, contiguous"
        raise UnusableInput(msg)
    return out
