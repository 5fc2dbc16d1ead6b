"""NVIDIA DALI's CPU graph as its documentation writes it: external source, decode, pad and cut, resize, normalise."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from nvidia.dali import fn, pipeline_def, types

from benchmarks.peers.squares import MEAN, STD, Box, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

PACKAGES: Final = ("nvidia-dali-cuda130",)


def make(threads: int, variant: str) -> Run:  # noqa: ARG001 - one variant
    """Prepare posters with DALI; its batches stay in its own memory, which saves it a copy."""
    source = _Source()
    built: dict[tuple[int, int], Any] = {}

    def run(bodies: Sequence[bytes], boxes: Sequence[Box], out: NDArray[np.float32]) -> NDArray[np.float32]:
        shape = len(out), out.shape[-1]
        source.load(bodies, boxes, len(out))
        if shape not in built:
            built[shape] = _graph(source, out.shape[-1], batch_size=len(out), num_threads=threads, device_id=None)
            built[shape].build()
        graph, count = built[shape], -(-len(bodies) // len(out))
        last = out
        with contextlib.suppress(StopIteration):  # its word for the end of an epoch
            for batch in itertools.count(1):
                (images,) = graph.run()
                if batch == count:
                    last = np.array(images.as_tensor())
        graph.reset()
        return last

    return run


class _Source:
    """Batches of (bytes, corner, extent), one round and then the end."""

    def load(self, bodies: Sequence[bytes], boxes: Sequence[Box], batch: int) -> None:
        encoded = [np.frombuffer(body, np.uint8) for body in bodies]
        corners = [np.array(box[:2], np.float32) for box in boxes]
        extents = [np.array(box[2:], np.float32) for box in boxes]
        starts = range(0, len(bodies), batch)
        self._batches = [tuple(part[i : i + batch] for part in (encoded, corners, extents)) for i in starts]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


@pipeline_def(prefetch_queue_depth=2, exec_dynamic=False)
def _graph(source: _Source, size: int) -> Any:
    encoded, corner, extent = fn.external_source(source=source, num_outputs=3)
    image = fn.decoders.image(encoded, device="cpu", output_type=types.RGB)
    cut = fn.slice(
        image, corner, extent, axes=(0, 1), normalized_anchor=False, normalized_shape=False, out_of_bounds_policy="pad"
    )
    square = fn.resize(cut, size=(size, size), interp_type=types.INTERP_LINEAR, antialias=True)
    mean, std = (255 * MEAN).tolist(), (255 * STD).tolist()
    return fn.crop_mirror_normalize(square, dtype=types.FLOAT, output_layout="CHW", mean=mean, std=std)
