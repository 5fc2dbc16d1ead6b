"""DALI with its own file reader, on the CPU: threads in C++, files of one folder per label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nvidia import dali
from nvidia.dali.pipeline import Pipeline

from benchmarks.peers.loading_torch import write
from dataloading.preprocess import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.peers.loader import Setting

PACKAGES: Final = ("nvidia-dali-cuda130",)
__all__ = ["batches", "write"]

fn: Final[Any] = dali.fn
types: Final[Any] = dali.types


def batches(folder: Path, setting: Setting) -> Iterable[Any]:
    """Yield one shuffled epoch: float32 [b, 3, size, size], normalised."""
    pipeline = Pipeline(batch_size=setting.batch_size, num_threads=setting.threads, device_id=None, seed=0)
    with pipeline:
        bodies, _ = fn.readers.file(file_root=str(folder), random_shuffle=True, initial_fill=1000, name="reader")
        posters = fn.decoders.image(bodies, output_type=types.RGB, jpeg_fancy_upsampling=True)
        squares = fn.resize(posters, size=[setting.size] * 2, interp_type=types.INTERP_LINEAR, antialias=True)
        mean, std = ([255 * value for value in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
        normal = fn.crop_mirror_normalize(squares, mean=mean, std=std, dtype=types.FLOAT, output_layout="CHW")
        pipeline.set_outputs(normal)
    pipeline.build()
    for _ in range(pipeline.reader_meta("reader")["epoch_size"] // setting.batch_size):
        found: Any = pipeline.run()[0]
        yield found.as_array()
