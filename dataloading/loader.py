"""Dataset -> batches of tensors, in an order that can be resumed anywhere."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.jpeg import shown_size
from dataloading.memory import BatchMemory
from dataloading.order import LastStep, epoch_sequence, position_digest, rank_share, step_sizes
from dataloading.prepare import default_implementation, make_preparer
from dataloading.preprocess import Draw, Preprocess, draw
from dataloading.quarantine import OnBad, Quarantine
from dataloading.source import PosterSource

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from dataloading.cache import CacheOptions
    from dataloading.dataset import Dataset
    from dataloading.prepare import Preparer

IGNORED: Final = -100
"""Target of a masked poster; PyTorch's losses leave it out by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterBatch:
    """Posters that a network can take."""

    images: NDArray[np.float32]
    """float32 [b, 3, h, w], normalised. Its memory is used again once nothing refers to it any more. From a
    ``ResidentLoader`` it is a tensor on that loader's device."""
    movie_ids: NDArray[np.int64]
    """int64 [b], TMDb ids."""
    targets: NDArray[np.int64]
    """int64 [b], indices of the dataset's vocabulary, or for several labels a movie int64 [b, c] of 0 and 1;
    ``IGNORED`` where the poster is masked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One rank's part of a step."""

    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    samples_done: int
    """Over all ranks, after this step."""


class PosterLoader:
    """Batches of one split of a dataset, for one of several ranks.

    Iterating yields the rest of the current epoch and then moves on to the next. Every rank gets the same number of
    batches. The state is two integers that count over all ranks, so an epoch that was begun on some ranks goes on
    with the posters not yet seen on any other number of them.

    Batches are prepared ahead by threads, a whole batch a thread, while the caller works on earlier ones.

    Example:
        >>> loader = PosterLoader(Dataset.load(folder), Preprocess(), split="train")  # doctest: +SKIP
        >>> next(iter(loader)).images.shape  # doctest: +SKIP
        (32, 3, 224, 224)
    """

    def __init__(  # noqa: PLR0913 - one argument for each independent choice
        self,
        dataset: Dataset,
        spec: Preprocess,
        *,
        split: str,
        implementation: str = "auto",
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        epoch: int = 0,
        batch_size: int = 32,
        shuffle: bool = True,
        threads: int | None = None,
        last: LastStep | None = None,
        on_bad: OnBad | None = None,
        check_hash: bool = False,
        cache: CacheOptions | None = None,
    ) -> None:
        """Prepare to load; nothing is read yet.

        Args:
            dataset: Where the posters are.
            spec: What is done to them; a random one is drawn from (seed, epoch, movie_id).
            split: ``train``, ``validation`` or ``test``.
            implementation: ``auto``, ``reference``, ``native`` or ``dali``.
            rank: Which of the ranks this is, from 0.
            world_size: Number of ranks.
            seed: Of order, draws and replacements.
            epoch: The first one.
            batch_size: Of each rank.
            shuffle: Whether each epoch has an order of its own; otherwise it is ``movie_id`` order.
            threads: That prepare batches; None means as many as this process may use.
            last: What happens to posters that do not fill a batch on each rank. None means ``REPEAT`` when shuffling,
                as for training, and otherwise ``PARTIAL``, as for measuring.
            on_bad: What stands in for a bad poster. None means ``REPLACE`` when shuffling and otherwise ``MASK``.
            check_hash: Compare the SHA-256 of every poster with the dataset's.
            cache: Where shards from a bucket are kept; None takes ``KEYART_CACHE`` and ``KEYART_CACHE_GB``.

        Raises:
            UnusableInput: A choice is out of range, or the split is empty or smaller than one step with ``DROP``.
        """
        self.spec = spec
        self.batch_size = batch_size
        self._rank, self._world_size, self._seed, self._shuffle = rank, world_size, seed, shuffle
        self._last = last or (LastStep.REPEAT if shuffle else LastStep.PARTIAL)
        self._on_bad = on_bad or (OnBad.REPLACE if shuffle else OnBad.MASK)
        self._epoch, self._samples_done, self._digest = epoch, 0, 0
        _check(rank=rank, world_size=world_size, batch_size=batch_size)
        table = dataset.rows(split)
        if len(self._sizes(len(table))) == 0:
            wanted = world_size * batch_size if len(table) else 1
            msg = (
                f"split {split} of dataset {dataset.folder}: has {len(table)} posters, expected at least {wanted} for "
                f"a batch of {batch_size} on each of {world_size} ranks; choose a smaller batch or crawl more"
            )
            raise UnusableInput(msg)
        self._movie_ids: NDArray[np.int64] = table["movie_id"].to_numpy()
        self._targets = dataset.targets(table)
        self._source = PosterSource(dataset.archive, table, check_hash=check_hash, in_order=not shuffle, cache=cache)
        threads = threads or len(os.sched_getaffinity(0))
        self._implementation = default_implementation() if implementation == "auto" else implementation
        # DALI has threads of its own: two graphs in turn keep it busy, where the others take a batch a thread
        self._workers = min(threads, 2) if self._implementation == "dali" else threads
        self._threads_each = threads // self._workers
        # a poster must not be bad in some epochs alone, or a resumed run would replace others; a hash says it too
        self._scan_all = spec.is_random and not check_hash
        self._own = threading.local()  # each thread's preparer
        self._memory = BatchMemory((batch_size, 3, spec.size, spec.size), spare=self._workers + 2)
        self._quarantine = Quarantine(self._movie_ids, seed=seed)
        make_preparer(spec, self._implementation, threads=1)  # a wrong name or a missing library shows now

    @property
    def quarantine(self) -> Mapping[int, Reason]:
        """Movies whose poster could not be prepared so far, with the reason."""
        return self._quarantine.reasons

    @property
    def digest(self) -> int:
        """Of all (epoch, position, movie_id) that were yielded since this loader was made, 64 bits.

        The digests of the ranks, and of the parts before and after a resume, add up (modulo 2**64) to that of one
        undisturbed run on one rank.
        """
        return self._digest

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of another epoch; nothing happens if it is the current one."""
        if epoch != self._epoch:
            self._epoch, self._samples_done = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Say where the loader is: ``epoch``, and ``samples_done`` of it over all ranks."""
        return {"epoch": self._epoch, "samples_done": self._samples_done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go to where another loader of this dataset and seed was, whatever its world size.

        Raises:
            UnusableInput: The state is not one of this dataset.
        """
        epoch, samples_done = state.get("epoch", -1), state.get("samples_done", -1)
        if epoch < 0 or not 0 <= samples_done <= len(self._movie_ids):
            msg = f"loader state {dict(state)}: expected an epoch from 0 and 0 to {len(self._movie_ids)} samples_done"
            raise UnusableInput(msg)
        self._epoch, self._samples_done = epoch, samples_done

    def __len__(self) -> int:
        """Batches of a whole epoch; the same on every rank."""
        return len(self._sizes(len(self._movie_ids)))

    def __iter__(self) -> Iterator[PosterBatch]:
        """Yield the rest of the epoch, then move on to the next."""
        return self._batches()

    def _batches(self) -> Generator[PosterBatch]:
        epoch = self._epoch
        steps = self._plan()
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="keyart-loader")
        try:
            pending: deque[tuple[_Step, Future[PosterBatch]]] = deque()
            for step in steps:
                pending.append((step, pool.submit(self._load, epoch, step)))
                if len(pending) > self._workers:
                    yield self._next(epoch, pending)
            while pending:
                yield self._next(epoch, pending)
        finally:
            pool.shutdown(cancel_futures=True)
        self._epoch, self._samples_done = epoch + 1, 0
        self._quarantine.report(self._on_bad)

    def _next(self, epoch: int, pending: deque[tuple[_Step, Future[PosterBatch]]]) -> PosterBatch:
        step, future = pending.popleft()
        batch = future.result()
        self._samples_done = step.samples_done
        self._digest = (self._digest + position_digest(epoch, step.positions, batch.movie_ids)) % 2**64
        return batch

    def _sizes(self, samples: int) -> list[int]:
        return step_sizes(samples, world_size=self._world_size, batch_size=self.batch_size, last=self._last)

    def _plan(self) -> Iterator[_Step]:
        count, begin = len(self._movie_ids), self._samples_done
        sequence = epoch_sequence(self._movie_ids, seed=self._seed, epoch=self._epoch, shuffle=self._shuffle)
        for size in self._sizes(count - begin):
            share = rank_share(size, rank=self._rank, world_size=self._world_size)
            positions = np.arange(begin + share.start, begin + share.stop)
            begin += size
            # positions past the end exist with REPEAT alone: the epoch's sequence from its beginning
            yield _Step(rows=sequence[positions % count], positions=positions, samples_done=min(begin, count))

    def _load(self, epoch: int, step: _Step) -> PosterBatch:
        images = self._empty(len(step.rows))
        rows = step.rows.copy()
        if self._on_bad is OnBad.REPLACE:
            for place, row in enumerate(rows):
                rows[place] = self._quarantine.substitute(epoch, int(row))
        bad = self._prepare(epoch, rows, images)
        targets = self._targets[rows]
        for place in bad:
            if self._on_bad is OnBad.MASK:
                targets[place] = IGNORED
                continue
            while True:  # substitute ends it: what is found bad joins the quarantine
                rows[place] = self._quarantine.substitute(epoch, int(step.rows[place]))
                if not self._prepare(epoch, rows[place : place + 1], images[place : place + 1]):
                    break
            targets[place] = self._targets[rows[place]]
        return PosterBatch(images=images, movie_ids=self._movie_ids[rows], targets=targets)

    def _empty(self, count: int) -> NDArray[np.float32]:
        return self._memory.take()[:count]

    def _prepare(self, epoch: int, rows: NDArray[np.int64], images: NDArray[np.float32]) -> list[int]:
        """Fill ``images``; return the places of bad posters, which join the quarantine."""
        found = [self._read(int(row)) for row in rows]
        bodies = [b"" if isinstance(body, Reason) else body for body in found]
        draws = None
        if self.spec.is_random:
            draws = [self._draw(epoch, int(row), body) for row, body in zip(rows, bodies, strict=True)]
        prepared = self._preparer().prepare(bodies, draws, images)
        bad: list[int] = []
        for place, (body, reason) in enumerate(zip(found, prepared.reasons, strict=True)):
            if reason is not None:
                bad.append(place)
                self._quarantine.add(int(rows[place]), body if isinstance(body, Reason) else reason)
        return bad

    def _read(self, row: int) -> bytes | Reason:
        return self._quarantine.reason(row) or self._source.read(row)

    def _draw(self, epoch: int, row: int, body: bytes) -> Draw:
        size = shown_size(body)
        if isinstance(size, Reason):  # the preparer will say so too; any draw will do
            return draw(self.spec.for_evaluation(), 1, 1)
        return draw(self.spec, *size, seed=self._seed, epoch=epoch, movie_id=int(self._movie_ids[row]))

    def _preparer(self) -> Preparer:
        if not hasattr(self._own, "preparer"):
            self._own.preparer = make_preparer(
                self.spec, self._implementation, threads=self._threads_each, scan_all=self._scan_all
            )
        return self._own.preparer


def _check(*, rank: int, world_size: int, batch_size: int) -> None:
    for name, value, low in (("world size", world_size, 1), ("batch size", batch_size, 1), ("rank", rank, 0)):
        if value < low:
            msg = f"{name} {value}: expected {low} or more"
            raise UnusableInput(msg)
    if rank >= world_size:
        msg = f"rank {rank}: expected 0 to {world_size - 1} for a world size of {world_size}"
        raise UnusableInput(msg)
