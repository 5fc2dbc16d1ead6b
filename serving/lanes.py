"""Execution contexts of a TensorRT engine -> lanes: a CUDA stream with its own buffers and graphs, run from a thread.

torch is the CUDA runtime: it owns streams, pinned and device memory and graphs. Not yet measured on a GPU.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from crawler.errors import UnusableInput
from serving.engine import EMBEDDINGS, INPUT, LOGITS, MAPS, Explanation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from serving.engine import EngineCard

BUCKETS: Final = (1, 8, 64, 256)
"""Batch sizes that are computed; a batch between two is computed as the larger one."""


def bucket_of(size: int) -> int:
    """Find the batch size that is computed for so many posters.

    Example:
        >>> [bucket_of(size) for size in (1, 2, 8, 65)]
        [1, 8, 8, 256]
    """
    return next(bucket for bucket in BUCKETS if size <= bucket)


class Lane:
    """One batch at a time, on a stream of its own.

    Every bucket has its own context, because a CUDA graph holds the shapes and the scratch memory of the one it was
    captured from.
    """

    def __init__(
        self, make_context: Callable[[], Any], shape: tuple[int, int, int], outputs: dict[str, Any], *, graphs: bool
    ) -> None:
        """Set up buffers for the largest bucket.

        Args:
            make_context: Makes an execution context.
            shape: Of one prepared poster.
            outputs: Shape of one poster's row of each output.
            graphs: Whether to capture CUDA graphs; not where the engine does so itself.
        """
        self._make_context, self._graphs = make_context, graphs
        self._stream = torch.cuda.Stream()
        self._images = torch.zeros((BUCKETS[-1], *shape), device="cuda")
        self._outputs = {name: torch.zeros((BUCKETS[-1], *row), device="cuda") for name, row in outputs.items()}
        self._pinned = torch.zeros((BUCKETS[-1], *shape), pin_memory=True)
        self._answers = {name: torch.zeros((BUCKETS[-1], *row), pin_memory=True) for name, row in outputs.items()}
        self._computing: dict[int, Callable[[], object]] = {}
        torch.cuda.synchronize()

    def run(self, images: NDArray[np.float32], names: list[str]) -> dict[str, NDArray[np.float32]]:
        """Compute at most the largest bucket's posters, from memory of the host to memory of the host."""
        count = len(images)
        np.copyto(self._pinned[:count].numpy(), images)
        with torch.cuda.stream(self._stream):
            self._images[:count].copy_(self._pinned[:count], non_blocking=True)
            self._compute(bucket_of(count))
            for name in names:
                self._answers[name][:count].copy_(self._outputs[name][:count], non_blocking=True)
        self._stream.synchronize()
        return {name: self._answers[name][:count].numpy().copy() for name in names}

    def run_on_device(self, images: torch.Tensor, name: str) -> torch.Tensor:
        """Compute at most the largest bucket's posters; input and output stay on the device."""
        count = len(images)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._images[:count].copy_(images)
            self._compute(bucket_of(count))
            answer = self._outputs[name][:count].clone()
        torch.cuda.current_stream().wait_stream(self._stream)
        images.record_stream(self._stream)
        answer.record_stream(torch.cuda.current_stream())
        return answer

    def _compute(self, bucket: int) -> None:
        if bucket not in self._computing:
            self._computing[bucket] = self._prepared(bucket)
        self._computing[bucket]()

    def _prepared(self, bucket: int) -> Callable[[], object]:
        context = self._make_context()
        context.set_input_shape(INPUT, (bucket, *self._images.shape[1:]))
        for name, tensor in {INPUT: self._images, **self._outputs}.items():
            context.set_tensor_address(name, tensor.data_ptr())
        stream = self._stream.cuda_stream

        def enqueue() -> None:
            if not context.execute_async_v3(stream):
                msg = f"TensorRT could not enqueue a batch of {bucket}"
                raise RuntimeError(msg)

        if not self._graphs:
            return enqueue
        enqueue()  # what is set up on first use is not for a graph
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            enqueue()
        return graph.replay


class TensorRtEngine:
    """``Engine`` in TensorRT on one GPU; batches of any size, in pieces of the largest bucket."""

    def __init__(self, card: EngineCard, lanes: list[Lane], owners: tuple[Any, ...]) -> None:
        """Hold lanes.

        Args:
            card: Of the engine.
            lanes: All of one engine.
            owners: What must live as long as the lanes: the engine and the runtime that loaded it.
        """
        self._card, self._owners, self._parallel = card, owners, len(lanes)
        self._idle: SimpleQueue[Lane] = SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self.infer(np.zeros((1, *card.input_shape), np.float32))

    @property
    def card(self) -> EngineCard:
        """What the engine is."""
        return self._card

    @property
    def parallel(self) -> int:
        """Lanes; a further call waits for one of them."""
        return self._parallel

    def infer(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see ``Engine.infer``."""
        return self._run(images, [LOGITS])[LOGITS]

    def explain(self, images: NDArray[np.float32]) -> Explanation:
        """Compute logits, embeddings and maps; see ``Engine.explain``."""
        if MAPS not in self._card.outputs:
            msg = f"engine {self._card.model_id}: {self._card.architecture} has no maps"
            raise UnusableInput(msg)
        outputs = self._run(images, [LOGITS, EMBEDDINGS, MAPS])
        return Explanation(logits=outputs[LOGITS], embeddings=outputs[EMBEDDINGS], maps=outputs[MAPS])

    def infer_on_device(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits of images that are on the device; the logits stay there.

        Args:
            images: float32 [b, 3, h, w] in CUDA memory, prepared and normalised.

        Returns:
            float32 [b, c] in CUDA memory, ready in the order of the current stream.
        """
        lane = self._idle.get()
        try:
            return torch.cat([lane.run_on_device(piece, LOGITS) for piece in images.split(BUCKETS[-1])])
        finally:
            self._idle.put(lane)

    def _run(self, images: NDArray[np.float32], names: list[str]) -> dict[str, NDArray[np.float32]]:
        lane = self._idle.get()
        try:
            begins = range(0, len(images), BUCKETS[-1])
            pieces = [lane.run(images[begin : begin + BUCKETS[-1]], names) for begin in begins]
        finally:
            self._idle.put(lane)
        return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}
