"""Encoded posters -> a batch, through NVIDIA DALI: on the GPU, or on the CPU as the GPU graph's twin.

The only file that knows DALI. Order, resume and draws are ours: a graph is fed with encoded bytes and the numbers of
each poster's draw. What DALI decodes otherwise than the reference (CMYK, PNG, WebP, damaged or overlong files) takes
the reference's way, and so does a whole batch that DALI refuses; none of them ends a run.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from nvidia import dali
from nvidia.dali.pipeline import Pipeline

from crawler.errors import UnusableInput
from dataloading.jpeg import JpegHeader, has_end, read_header
from dataloading.prepare import LIMIT_SIDE, Prepared, batch_memory
from dataloading.preprocess import Draw, Interpolation, Preprocess, draw
from dataloading.reference import ReferencePreparer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from crawler.records import Reason

log = logging.getLogger(__name__)

fn: Final[Any] = dali.fn  # both are filled at run time and have no types
types: Final[Any] = dali.types

BATCH: Final = 128
"""Posters that a graph takes at once; more are given to it in turns."""

_COLOUR_CHANNELS: Final = 3


class DaliPreparer:
    """The specification as DALI graphs; within 0.5/255 on average and 3/255 at most of the reference.

    Not for several threads at once: give each its own.

    Example:
        >>> DaliPreparer(Preprocess(size=32), threads=1).prepare([b"not a poster"]).reasons
        [<Reason.NOT_AN_IMAGE: 'not_an_image'>]
    """

    def __init__(
        self, spec: Preprocess, threads: int | None = None, device: str = "auto", device_id: int | None = None
    ) -> None:
        """Take the choices; graphs are built when they are first needed.

        Args:
            spec: What is to be done.
            threads: That decode on the CPU; None means as many as this process may use.
            device: ``gpu`` (decode mixed, the rest on the device), ``cpu``, or ``auto``: ``gpu`` where there is one.
            device_id: Which GPU; None takes ``LOCAL_RANK``, or the first.

        Raises:
            UnusableInput: ``device`` is none of these, or ``gpu`` on a machine without one.
        """
        has_gpu = Path("/dev/nvidia0").exists()
        if device not in {"auto", "cpu", "gpu"} or (device == "gpu" and not has_gpu):
            found = "an NVIDIA GPU" if has_gpu else "no NVIDIA GPU"
            msg = f"dali device {device!r}: expected auto, cpu, or gpu where there is one; this machine has {found}"
            raise UnusableInput(msg)
        self.spec = spec
        self.device = ("gpu" if has_gpu else "cpu") if device == "auto" else device
        self._threads = threads or len(os.sched_getaffinity(0))
        self._device_id = int(os.environ.get("LOCAL_RANK", "0")) if device_id is None else device_id
        self._slow = ReferencePreparer(spec, threads=self._threads)
        self._graphs: dict[bool, Pipeline] = {}

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> Prepared:
        """Prepare a batch; see ``dataloading.prepare.Preparer``."""
        images = batch_memory(self.spec, bodies, draws, out)
        reasons: list[Reason | None] = [None] * len(bodies)
        evaluation = self.spec.for_evaluation()
        plans: dict[int, Draw] = {}
        slow: list[int] = []
        for place, body in enumerate(bodies):
            size = plain_jpeg_size(body)
            if size is None:
                slow.append(place)
            else:
                plans[place] = draws[place] if draws is not None else draw(evaluation, *size)
        for turned in (False, True):
            places = [place for place, plan in plans.items() if self._turns(plan) is turned]
            for begin in range(0, len(places), BATCH):
                slow += self._run(places[begin : begin + BATCH], bodies, plans, images, turned=turned)
        for place in slow:
            given = None if draws is None else [draws[place]]
            prepared = self._slow.prepare([bodies[place]], given, images[place : place + 1])
            reasons[place] = prepared.reasons[0]
        return Prepared(images=images, reasons=reasons)

    def _turns(self, plan: Draw) -> bool:
        return bool(plan.angle)

    def _run(
        self,
        places: Sequence[int],
        bodies: Sequence[bytes],
        plans: dict[int, Draw],
        images: NDArray[np.float32],
        *,
        turned: bool,
    ) -> list[int]:
        """Fill ``images`` at ``places``; return those that must go the reference's way."""
        bicubic = self.spec.interpolation is Interpolation.BICUBIC
        if not places or (bicubic and (turned or self.spec.antialias)):
            return list(places)  # DALI cannot turn with it, and its widened cubic filter is up to 8/255 from Pillow's
        if turned not in self._graphs:
            self._graphs[turned] = self._build(turned=turned)
        graph = self._graphs[turned]
        chosen = [plans[place] for place in places]
        graph.feed_input("bodies", [np.frombuffer(bodies[place], np.uint8) for place in places])
        for name, values in self._numbers(chosen, turned=turned):
            graph.feed_input(name, list(values))
        try:
            batch: Any = graph.run()[0]
            found: NDArray[np.float32] = (batch.as_cpu() if self.device == "gpu" else batch).as_array()
        except RuntimeError as error:
            log.info("DALI refused a batch, which goes the reference's way: %s", error)
            del self._graphs[turned]  # a graph that failed cannot be run again
            return list(places)
        if list(places) == list(range(places[0], places[0] + len(places))):
            images[places[0] : places[0] + len(places)] = found
        else:
            images[list(places)] = found
        return []

    def _numbers(self, plans: Sequence[Draw], *, turned: bool) -> Iterator[tuple[str, NDArray[Any]]]:
        """Give the numbers of the draws, one row a poster, under the names of the graph's inputs."""
        size = self.spec.size
        windows = [plan.window(size) for plan in plans]
        yield "start", np.array([(plan.top, plan.left) for plan in plans], np.int32)
        yield "shape", np.array([(plan.height, plan.width) for plan in plans], np.int32)
        yield "mirror", np.array([plan.flip for plan in plans], np.int32)
        if turned:
            yield "angle", np.array([plan.angle for plan in plans], np.float32)
            yield "window", np.array(windows, np.int32)
            parts = [(0, 0, plan.frame_height, plan.frame_width) for plan in plans]
        else:
            parts = [(*window, size, size) for window in windows]
        rows = [
            _Axis.of(plan.height, plan.frame_height, top, height, self.spec)
            for plan, (top, _, height, _) in zip(plans, parts, strict=True)
        ]
        columns = [
            _Axis.of(plan.width, plan.frame_width, left, width, self.spec)
            for plan, (_, left, _, width) in zip(plans, parts, strict=True)
        ]
        axes = list(zip(rows, columns, strict=True))
        yield "size", np.array([(len(y.gain), len(x.gain)) for y, x in axes], np.float32)
        yield "low", np.array([(y.low, x.low) for y, x in axes], np.float32)
        yield "high", np.array([(y.high, x.high) for y, x in axes], np.float32)
        if not self.spec.antialias:
            return
        yield "margin", np.array([(-y.margin, -x.margin) for y, x in axes], np.int32)
        yield "extent", np.array([(y.extent, x.extent) for y, x in axes], np.int32)
        yield "row_gain", np.stack([y.gain[:, None, None] for y in rows])
        yield "column_gain", np.stack([x.gain[None, :, None] for x in columns])

    def _build(self, *, turned: bool) -> Pipeline:
        spec, gpu = self.spec, self.device == "gpu"
        pipeline = Pipeline(
            batch_size=BATCH,
            num_threads=self._threads,
            device_id=self._device_id if gpu else None,
            prefetch_queue_depth=1,  # batches overlap by the loader's threads, each with a graph of its own
            exec_async=False,
            exec_pipelined=False,
        )
        with pipeline:
            posters = fn.decoders.image(
                _given("bodies"),
                device="mixed" if gpu else "cpu",
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,  # as libjpeg does by itself
            )
            cuts = _cut(posters, "start", "shape", spec.pad_value)
            squares = self._resize(cuts)
            if turned:
                squares = self._turn(squares)
            normal = fn.crop_mirror_normalize(
                squares,
                mirror=_given("mirror"),
                mean=[255 * mean for mean in spec.mean],
                std=[255 * std for std in spec.std],
                dtype=types.FLOAT,
                output_layout="CHW",
            )
            pipeline.set_outputs(normal)
        pipeline.build()
        return pipeline

    def _resize(self, cuts: Any) -> Any:
        """Resize cuts as Pillow does.

        Where the filter reaches past the edge, Pillow averages over what is inside; DALI repeats the edge. So the cut
        gets a black margin, and rows and columns that reached into it are brightened by what they lost.
        """
        bilinear = self.spec.interpolation is Interpolation.BILINEAR
        squares = fn.resize(
            _cut(cuts, "margin", "extent", 0) if self.spec.antialias else cuts,
            size=_given("size"),
            roi_start=_given("low"),
            roi_end=_given("high"),
            interp_type=types.INTERP_LINEAR if bilinear else types.INTERP_CUBIC,
            antialias=self.spec.antialias,
            dtype=types.FLOAT if self.spec.antialias else types.UINT8,
        )
        if not self.spec.antialias:
            return squares
        for name in ("row_gain", "column_gain"):
            gain = _given(name)
            squares = squares * (gain.gpu() if self.device == "gpu" else gain)
        return fn.cast(squares, dtype=types.UINT8)

    def _turn(self, frames: Any) -> Any:
        """Rotate frames about their centres and cut their windows, as Pillow does.

        DALI would blend the border with the filling. So the border is repeated outwards, and a white frame that is
        turned without interpolation says which pixels lie within.
        """
        angle, size, pad = _given("angle"), self.spec.size, float(self.spec.pad_value)
        turned = fn.rotate(frames, angle=angle, keep_size=True, interp_type=types.INTERP_LINEAR, dtype=types.FLOAT)
        white = fn.cast(frames * 0 + 1, dtype=types.FLOAT)
        within = fn.rotate(white, angle=angle, keep_size=True, interp_type=types.INTERP_NN, fill_value=0.0)
        filled = (turned - 0.5) * within + (1.0 - within) * pad  # half a level less, for Pillow truncates here
        return fn.slice(fn.cast(filled, dtype=types.UINT8), start=_given("window"), shape=[size, size], axis_names="HW")


def plain_jpeg_size(body: bytes) -> tuple[int, int] | None:
    """Give (height, width) as shown of a JPEG that DALI decodes as the reference does; None for all else."""
    header = read_header(body)
    if not isinstance(header, JpegHeader) or header.components > _COLOUR_CHANNELS:
        return None
    if max(header.shown_size) > LIMIT_SIDE or not has_end(body):
        return None
    return header.shown_size


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """How one side of a cut becomes one side of a square."""

    margin: int
    """Black pixels that the cut gets at either end."""
    extent: int
    """Of the cut with its margins, in pixels."""
    low: float
    """Where the part that becomes the square begins, in pixels of the cut with its margins."""
    high: float
    gain: NDArray[np.float32]
    """What makes up for the margins, for each pixel of the square."""

    @classmethod
    @lru_cache(maxsize=4096)  # nearly all posters have one of a few sizes
    def of(cls, length: int, frame: int, offset: int, size: int, spec: Preprocess) -> _Axis:
        """Plan an axis: ``size`` pixels from ``offset`` on of the ``frame`` that a cut of ``length`` is resized to."""
        step = length / frame
        if not spec.antialias:
            low, high = offset * step, (offset + size) * step
            return cls(margin=0, extent=length, low=low, high=high, gain=np.ones(size, np.float32))
        scale = max(step, 1.0)
        margin = math.ceil(scale) + 1
        centres = (offset + np.arange(size) + 0.5) * step
        places = np.floor(centres)[:, None] + np.arange(-margin, margin + 1)
        weights = np.maximum(1 - np.abs(places + 0.5 - centres[:, None]) / scale, 0)
        inside = weights * ((places >= 0) & (places < length))
        return cls(
            margin=margin,
            extent=length + 2 * margin,
            low=margin + offset * step,
            high=margin + (offset + size) * step,
            gain=(weights.sum(axis=1) / inside.sum(axis=1)).astype(np.float32),
        )


def _cut(images: Any, start: str, shape: str, fill: int) -> Any:
    return fn.slice(
        images,
        start=_given(start),
        shape=_given(shape),
        axis_names="HW",
        out_of_bounds_policy="pad",
        fill_values=[fill] * _COLOUR_CHANNELS,
    )


def _given(name: str) -> Any:
    return fn.external_source(name=name, batch=True)
