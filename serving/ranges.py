"""Prepared posters -> the largest magnitude that each tensor shall keep when it is quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from serving.narrow import LEVELS
from serving.openvino import compute

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

BINS: Final = 2048
CANDIDATES: Final = 100


def magnitudes(
    network: onnx.ModelProto, tensors: list[str], batches: list[NDArray[np.float32]], number_format: str
) -> dict[str, float]:
    """Choose for each tensor where to cut it off.

    Bytes have equal steps: a wide range makes them coarse, a narrow one loses the largest values. The one with the
    least mean squared error over the batches is taken. A float8 has fine steps where they are
    needed and keeps all.

    Args:
        network: fp32.
        tensors: Names of tensors in it.
        batches: float32 [b, 3, h, w].
        number_format: ``int8`` or ``fp8``.
    """
    largest = dict.fromkeys(tensors, 0.0)
    for values in compute(network, tensors, batches):
        for name in tensors:
            largest[name] = max(largest[name], float(np.abs(values[name]).max()))
    if number_format == "fp8":
        return largest
    counts = {name: np.zeros(BINS) for name in tensors}
    for values in compute(network, tensors, batches):
        for name in tensors:
            counts[name] += histogram(values[name], largest[name])
    return {name: best_cut(counts[name], largest[name], LEVELS[number_format]) for name in tensors}


def histogram(values: NDArray[np.float32], largest: float) -> NDArray[np.float64]:
    """Count magnitudes in equal bins from 0 to ``largest``; what rounding puts beyond it is in the last."""
    magnitude = np.minimum(np.abs(values.astype(np.float64)), largest)
    return np.histogram(magnitude, BINS, (0, largest or 1.0))[0].astype(np.float64)


def best_cut(counts: NDArray[np.float64], largest: float, levels: float) -> float:
    """Find the cut with the least mean squared error.

    Args:
        counts: Histogram of magnitudes in equal bins from 0 to ``largest``.
        largest: End of the last bin.
        levels: Steps between 0 and the cut.

    Example:
        >>> counts = np.zeros(2048)
        >>> counts[100], counts[2047] = 1e9, 1  # one value in a thousand million lies far out
        >>> best_cut(counts, 1.0, 127) < 0.2
        True
    """
    centres = (np.arange(len(counts)) + 0.5) * largest / len(counts)
    counts = counts.copy()
    counts[0] = 0  # zero is kept exactly, whatever the step
    cuts = largest * np.linspace(1 / CANDIDATES, 1, CANDIDATES)
    lost = np.maximum(centres[None] - cuts[:, None], 0) ** 2
    coarse = np.where(centres[None] <= cuts[:, None], (cuts[:, None] / levels) ** 2 / 12, 0)
    return float(cuts[((lost + coarse) * counts).sum(axis=1).argmin()])
