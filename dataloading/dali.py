"""Encoded posters -> a batch, through NVIDIA DALI: on the GPU, or on the CPU as the GPU graph's twin.

The only file that knows DALI. Order, resume and draws are ours: a graph is fed with encoded bytes and the numbers of
each poster's draw. What DALI decodes otherwise than the reference (CMYK, PNG, WebP, damaged or overlong files) takes
the reference's way, and so does a whole batch that DALI refuses; none of them ends a run.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from nvidia import dali
from nvidia.dali.pipeline import Pipeline

from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.graph_numbers import numbers
from dataloading.jpeg import JpegHeader, has_end, read_header
from dataloading.prepare import FLOAT32_NCHW, LIMIT_SIDE, Layout, Number, Output, Prepared, batch_memory
from dataloading.preprocess import Draw, Interpolation, Preprocess, draw
from dataloading.reference import normalized, prepare_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

fn: Final[Any] = dali.fn  # both are filled at run time and have no types
types: Final[Any] = dali.types
backend: Final[Any] = dali.backend

BATCH: Final = 128
"""Posters that a graph takes at once; more are given to it in turns."""

HARDWARE_SHARE: Final = 0.65
"""DALI's own choice."""

_COLOUR_CHANNELS: Final = 3
_TYPES: Final = {Number.FLOAT32: types.FLOAT, Number.FLOAT16: types.FLOAT16, Number.UINT8: types.UINT8}


class DaliPreparer:
    """The specification as DALI graphs; within 0.5/255 on average and 3/255 at most of the reference.

    Not for several threads at once: give each its own.

    Example:
        >>> DaliPreparer(Preprocess(size=32), threads=1).prepare([b"not a poster"]).reasons
        [<Reason.NOT_AN_IMAGE: 'not_an_image'>]
    """

    def __init__(  # noqa: PLR0913 - one argument for each independent choice
        self,
        spec: Preprocess,
        threads: int | None = None,
        device: str = "auto",
        device_id: int | None = None,
        *,
        output: Output = FLOAT32_NCHW,
        hardware_share: float = HARDWARE_SHARE,
    ) -> None:
        """Take the choices; graphs are built when they are first needed.

        Args:
            spec: What is to be done.
            threads: That decode on the CPU; None means as many as this process may use.
            device: ``gpu`` (decode mixed, the rest on the device), ``cpu``, or ``auto``: ``gpu`` where there is one.
            device_id: Which GPU; None takes ``LOCAL_RANK``, or the first.
            output: Form of the batch; DALI has no bfloat16.
            hardware_share: Of the JPEGs, what a GPU's own decoder takes, 0 to 1; the rest is decoded by CUDA.

        Raises:
            UnusableInput: ``device`` is none of these, or ``gpu`` on a machine without one, or the form is not DALI's.
        """
        has_gpu = Path("/dev/nvidia0").exists()
        if device not in {"auto", "cpu", "gpu"} or (device == "gpu" and not has_gpu):
            found = "an NVIDIA GPU" if has_gpu else "no NVIDIA GPU"
            msg = f"dali device {device!r}: expected auto, cpu, or gpu where there is one; this machine has {found}"
            raise UnusableInput(msg)
        if output.number not in _TYPES:
            msg = f"dali number {output.number}: expected {', '.join(_TYPES)}; native makes {output.number}"
            raise UnusableInput(msg)
        self.spec = spec
        self._output, self._hardware_share = output, hardware_share
        self.device = ("gpu" if has_gpu else "cpu") if device == "auto" else device
        self._threads = threads or len(os.sched_getaffinity(0))
        self._device_id = _device_of_rank() if device_id is None and self.device == "gpu" else device_id or 0
        self._graphs: dict[bool, Pipeline] = {}

    def prepare(
        self,
        bodies: Sequence[bytes],
        draws: Sequence[Draw] | None = None,
        out: NDArray[Any] | None = None,
    ) -> Prepared:
        """Prepare a batch; see ``dataloading.prepare.Preparer``."""
        images = batch_memory(self.spec, bodies, draws, out, self._output)
        reasons: list[Reason | None] = [None] * len(bodies)
        evaluation = self.spec.for_evaluation()
        plans: dict[int, Draw] = {}
        sizes: dict[int, tuple[int, int]] = {}
        slow: list[int] = []
        for place, body in enumerate(bodies):
            size = plain_jpeg_size(body)
            if size is None:
                slow.append(place)
            else:
                sizes[place] = size
                plans[place] = draws[place] if draws is not None else draw(evaluation, *size)
        for turned in (False, True):
            places = [place for place, plan in plans.items() if self._turns(plan) is turned]
            for begin in range(0, len(places), BATCH):
                some = places[begin : begin + BATCH]
                if not self._run(
                    some, [bodies[at] for at in some], [plans[at] for at in some], sizes, images, turned=turned
                ):
                    slow += some
        for place in slow:
            reasons[place] = self._fill_slowly(images[place], bodies[place], None if draws is None else draws[place])
        return Prepared(images=images, reasons=reasons)

    def _turns(self, plan: Draw) -> bool:
        return bool(plan.angle)

    def _run(  # noqa: PLR0913 - a part of a batch, in its parts
        self,
        places: list[int],
        bodies: list[bytes],
        plans: list[Draw],
        sizes: dict[int, tuple[int, int]],
        images: NDArray[Any],
        *,
        turned: bool,
    ) -> bool:
        """Fill ``images`` at ``places``, or say that they must go the reference's way."""
        bicubic = self.spec.interpolation is Interpolation.BICUBIC
        if not places or (bicubic and (turned or self.spec.antialias)):
            return False  # DALI cannot turn with it, and its widened cubic filter is up to 8/255 from Pillow's
        if turned not in self._graphs:
            self._graphs[turned] = self._build(turned=turned)
        graph = self._graphs[turned]
        graph.feed_input("bodies", [np.frombuffer(body, np.uint8) for body in bodies])
        for name, values in numbers(self.spec, plans, [sizes[place] for place in places], turned=turned):
            graph.feed_input(name, list(values))
        try:
            batch: Any = graph.run()[0]
            found: NDArray[Any] = (batch.as_cpu() if self.device == "gpu" else batch).as_array()
        except RuntimeError as error:
            log.info("DALI refused a batch, which goes the reference's way: %s", error)
            del self._graphs[turned]  # a graph that failed cannot be run again
            return False
        if places == list(range(places[0], places[0] + len(places))):
            images[places[0] : places[0] + len(places)] = found
        else:
            images[places] = found
        return True

    def _fill_slowly(self, image: NDArray[Any], body: bytes, plan: Draw | None) -> Reason | None:
        square = prepare_pixels(self.spec, body, plan)
        if isinstance(square, Reason):
            image[...] = 0
            return square
        bare = self._output.number is Number.UINT8
        target = image if self._output.layout is Layout.NCHW else image.transpose(2, 0, 1)
        target[...] = square.transpose(2, 0, 1) if bare else normalized(self.spec, square)
        return None

    def _build(self, *, turned: bool) -> Pipeline:
        spec, gpu, bare = self.spec, self.device == "gpu", self._output.number is Number.UINT8
        pipeline = Pipeline(
            batch_size=BATCH,
            num_threads=self._threads,
            device_id=self._device_id if gpu else None,
            prefetch_queue_depth=1,  # batches overlap by the loader's threads, each with a graph of its own
            exec_async=False,
            exec_pipelined=False,
        )
        with pipeline:
            posters = fn.decoders.image_slice(  # what is cut away is not decoded, where the decoder can
                _given("bodies"),
                start=_given("region_start"),
                shape=_given("region_shape"),
                axis_names="HW",
                device="mixed" if gpu else "cpu",
                output_type=types.RGB,
                jpeg_fancy_upsampling=True,  # as libjpeg does by itself
                hw_decoder_load=self._hardware_share,
            )
            cuts = _cut(posters, "start", "shape", spec.pad_value)
            squares = self._resize(cuts)
            if turned:
                squares = self._turn(squares)
            normal = fn.crop_mirror_normalize(
                squares,
                mirror=_given("mirror"),
                mean=[0.0 if bare else 255 * mean for mean in spec.mean],
                std=[1.0 if bare else 255 * std for std in spec.std],
                dtype=_TYPES[self._output.number],
                output_layout="CHW" if self._output.layout is Layout.NCHW else "HWC",
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


def _device_of_rank() -> int:
    """Take the GPU of this process's rank on its machine; a launcher may show each rank its own GPU alone."""
    return int(os.environ.get("LOCAL_RANK", "0")) % max(1, backend.GetCUDADeviceCount())


def plain_jpeg_size(body: bytes) -> tuple[int, int] | None:
    """Give (height, width) as shown of a JPEG that DALI decodes as the reference does; None for all else."""
    header = read_header(body)
    if not isinstance(header, JpegHeader) or header.components > _COLOUR_CHANNELS:
        return None
    if max(header.shown_size) > LIMIT_SIDE or not has_end(body):
        return None
    return header.shown_size


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
