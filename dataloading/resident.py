"""Dataset -> decoded posters in a device's memory -> batches made there, with no decoding after the first.

45,466 posters of 185x278 are 7 GB as uint8. Where they fit, an epoch costs the device two small matrix products a
poster, and the host nothing but the draws. It is plain torch: on the CPU it makes the same pixels, which is how it is
tested on a machine without a GPU.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import simplejpeg
import torch

from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.jpeg import PLAIN_COMPONENTS, JpegHeader, has_end, read_header, shown_size
from dataloading.loader import PosterLoader
from dataloading.prepare import LIMIT_SIDE
from dataloading.preprocess import Draw, Interpolation, Preprocess, draw
from dataloading.reference import open_poster
from dataloading.torch_squares import make_squares

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dataloading.dataset import Dataset

CHUNK: Final = 256
"""Posters that are decoded before they go to the device together, and that are made into squares together."""
SPARE_SHARE: Final = 0.5
"""Of a GPU's free memory, what is left to the network at least."""


@dataclass(frozen=True, slots=True)
class ResidentPosters:
    """Decoded posters, one after the other in one block."""

    pixels: torch.Tensor
    """uint8 ``[n]``: ``[h, w, 3]`` of each poster, RGB."""
    begins: NDArray[np.int64]
    heights: NDArray[np.int64]
    """Of each poster; 0 where it is bad."""
    widths: NDArray[np.int64]
    reasons: dict[int, Reason]
    """Why a row's poster is bad."""

    @classmethod
    def read(
        cls, read: Callable[[int], bytes | Reason], count: int, device: torch.device, threads: int
    ) -> ResidentPosters:
        """Decode rows 0 to ``count`` into the device's memory.

        Raises:
            UnusableInput: They take more than half of a GPU's free memory.
        """

        def size_of(row: int) -> tuple[int, int] | Reason:
            return _size(read(row))

        with ThreadPoolExecutor(threads, thread_name_prefix="keyart-resident") as pool:
            sizes = list(pool.map(size_of, range(count)))
            reasons = {row: size for row, size in enumerate(sizes) if isinstance(size, Reason)}
            shapes = np.array([(0, 0) if isinstance(size, Reason) else size for size in sizes], np.int64).reshape(-1, 2)
            lengths = 3 * shapes.prod(axis=1)
            begins = np.cumsum(lengths) - lengths
            _check_room(int(lengths.sum()), device)
            pixels = torch.empty(int(lengths.sum()), dtype=torch.uint8, device=device)
            for first in range(0, count, CHUNK):
                rows = [row for row in range(first, min(first + CHUNK, count)) if row not in reasons]
                if not rows:
                    continue
                host = torch.empty(int(lengths[rows].sum()), dtype=torch.uint8, pin_memory=device.type == "cuda")
                parts = np.split(host.numpy(), np.cumsum(lengths[rows])[:-1])
                images = [part.reshape(*shapes[row], 3) for row, part in zip(rows, parts, strict=True)]
                found = list(pool.map(_decode, pool.map(read, rows), images))
                reasons |= {row: reason for row, reason in zip(rows, found, strict=True) if reason is not None}
                start = int(begins[rows[0]])  # rows that are left out have no length
                pixels[start : start + len(host)].copy_(host)
        return cls(pixels, begins, shapes[:, 0], shapes[:, 1], reasons)

    def poster(self, row: int) -> torch.Tensor:
        """Give one, uint8 ``[h, w, 3]``; a view."""
        height, width, begin = int(self.heights[row]), int(self.widths[row]), int(self.begins[row])
        return self.pixels[begin : begin + 3 * height * width].view(height, width, 3)


class ResidentLoader(PosterLoader):
    """A ``PosterLoader`` whose posters stay decoded on a device; ``images`` of its batches are tensors there.

    Order, draws, resume, replacements and digests are the loader's own. Numbers are within 0.5/255 on average and 3/255
    at most of the reference, like those of the other implementations.

    Example:
        >>> loader = ResidentLoader(Dataset.load(folder), Preprocess(), split="train", device="cuda")  # doctest: +SKIP
        >>> next(iter(loader)).images.device  # doctest: +SKIP
        device(type='cuda', index=0)
    """

    def __init__(
        self,
        dataset: Dataset,
        spec: Preprocess,
        *,
        device: torch.device | str,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        **options: Any,
    ) -> None:
        """Decode the split.

        Args:
            dataset: Where the posters are.
            spec: What is done to them; bilinear.
            device: Where they stay.
            dtype: Of the batches: float32, float16 or bfloat16.
            channels_last: The batches' memory format; their shape is the same.
            options: Of ``PosterLoader``, but for ``implementation``.

        Raises:
            UnusableInput: A choice is out of range, the filter is not bilinear, or the posters do not fit.
        """
        if spec.interpolation is not Interpolation.BILINEAR:
            msg = f"preprocess interpolation {spec.interpolation}: posters on a device are resized bilinear only"
            raise UnusableInput(msg)
        super().__init__(dataset, spec, implementation="reference", **options)
        self._device, self._dtype = torch.device(device), dtype
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        threads = options.get("threads") or len(os.sched_getaffinity(0))
        self._posters = ResidentPosters.read(self._source.read, len(self._movie_ids), self._device, threads)
        self._workers = 1  # the device is busy with one batch at a time; the next is prepared meanwhile

    def _empty(self, count: int) -> NDArray[np.float32]:
        shape = (count, 3, self.spec.size, self.spec.size)
        images = torch.empty(shape, dtype=self._dtype, device=self._device).to(memory_format=self._format)
        return cast("NDArray[np.float32]", images)

    def _prepare(self, epoch: int, rows: NDArray[np.int64], images: NDArray[np.float32]) -> list[int]:
        target = cast("torch.Tensor", images)
        bad = [place for place, row in enumerate(rows) if int(row) in self._posters.reasons]
        for place in bad:
            self._quarantine.add(int(rows[place]), self._posters.reasons[int(rows[place])])
            target[place] = 0
        good = [place for place, row in enumerate(rows) if int(row) not in self._posters.reasons]
        for begin in range(0, len(good), CHUNK):
            places = good[begin : begin + CHUNK]
            chosen = [int(rows[place]) for place in places]
            plans = [self._plan_of(epoch, row) for row in chosen]
            posters = [self._posters.poster(row) for row in chosen]
            target[torch.tensor(places, device=self._device)] = make_squares(self.spec, posters, plans).to(self._dtype)
        return bad

    def _plan_of(self, epoch: int, row: int) -> Draw:
        size = int(self._posters.heights[row]), int(self._posters.widths[row])
        return draw(self.spec, *size, seed=self._seed, epoch=epoch, movie_id=int(self._movie_ids[row]))


def _size(body: bytes | Reason) -> tuple[int, int] | Reason:
    size = body if isinstance(body, Reason) else shown_size(body)
    return Reason.TOO_LARGE if not isinstance(size, Reason) and max(size) > LIMIT_SIDE else size


def _decode(body: bytes | Reason, pixels: NDArray[np.uint8]) -> Reason | None:
    """Decode into ``pixels``, or say why not."""
    if isinstance(body, Reason):
        return body
    header = read_header(body)
    if (
        isinstance(header, JpegHeader)
        and header.components in PLAIN_COMPONENTS
        and header.orientation == 1
        and has_end(body)
    ):
        try:
            simplejpeg.decode_jpeg(body, buffer=pixels.reshape(-1))
        except ValueError:  # damage, perhaps harmless: Pillow decides
            pass
        else:
            return None
    poster = open_poster(body)
    if isinstance(poster, Reason):
        return poster
    pixels[...] = np.asarray(poster)
    return None


def _check_room(size_bytes: int, device: torch.device) -> None:
    if device.type != "cuda":
        return
    free_bytes, _ = torch.cuda.mem_get_info(device)
    if size_bytes > free_bytes * SPARE_SHARE:
        msg = (
            f"device {device}: the posters take {size_bytes / 1e9:.1f} GB, expected at most {SPARE_SHARE:.0%} of the "
            f"{free_bytes / 1e9:.1f} GB that are free; use PosterLoader"
        )
        raise UnusableInput(msg)
