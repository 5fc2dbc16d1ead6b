"""Shard plans over Ray -> a report. The only file of this package that knows Ray."""

from __future__ import annotations

import errno
import functools
import logging
import os
import sys
import time
import uuid
from collections import Counter, deque
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU tasks may see the GPU; Ray's coming default

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from crawler.archive import Manifest, opened_for_crawl
from crawler.crawl import CrawlOptions, ShardCrawler
from crawler.errors import WorkFailed
from crawler.frontier import check_image_base, measure, plans, remaining, revisits, select
from crawler.monitor import Monitor, Tally, unseen
from crawler.politeness import Ledger, Renewal, Share
from crawler.progress import Advance, silent
from crawler.shards import committed_shards, count_outcomes, read_sidecar
from crawler.storage import open_store

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    import polars as pl

    from crawler.monitor import Observe
    from crawler.records import ShardPlan, ShardReceipt
    from crawler.storage import Place, Store

_log = logging.getLogger(__name__)

GRACE_S: Final = 1.0
"""After Ctrl-C, for the shards in flight; what is not committed by then is fetched again by the next call."""
LOOK_S: Final = 1.0
"""Between two looks at how a crawl stands."""
MOST_CRAWLS: Final = 8
"""Crawls at the same time on one cluster whose progress is remembered."""
MOST_LOSSES: Final = 20
"""Workers that one shard may lose (to kills, nodes, memory) before it is given up."""

OBJECT_STORE_BYTES: Final = 256 * 2**20
"""Of a Ray that we start ourselves: plans and receipts are small, poster bytes never enter it."""

_LOST: Final = (WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError, TaskUnschedulableError)
_DISK_IS_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@contextmanager
def connected(cpus: int | None = None) -> Generator[None]:
    """Be connected to Ray while the block runs.

    A connection that exists is used and left alone. ``RAY_ADDRESS`` joins that cluster. Otherwise a Ray of our own
    starts on this machine and ends with the block.

    Args:
        cpus: Logical CPUs of a Ray of our own; None means as many as the machine has.
    """
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    # Ray prints there that a worker was lost, until it has shut down, and stdout is for the summary.
    with redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            ray.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlReport:
    """What an archive holds after a crawl, and what this call added."""

    archive: str
    requested: int
    """Posters over the whole archive."""
    ok: int
    """Posters stored, over the whole archive."""
    failed: Mapping[str, int]
    """Posters not stored by reason, over the whole archive."""
    shards: int
    shards_before: int
    """Shards that were there already; nothing of them was fetched."""
    fetched: int
    """Posters stored by this call."""
    size_bytes: int
    """Of the tars that this call wrote."""
    elapsed_s: float

    @property
    def images_per_s(self) -> float:
        """Posters that this call stored, per second."""
        return self.fetched / self.elapsed_s if self.elapsed_s else 0.0

    def __str__(self) -> str:
        """One screen for a person."""
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in self.failed.items())
        reused = f" ({self.shards_before:,} were there)" if self.shards_before else ""
        return (
            f"{self.ok:,} of {self.requested:,} posters in {self.shards:,} shards{reused} -> {self.archive}\n"
            f"  failed    {reasons or 'none'}\n"
            f"  this call {self.fetched:,} posters, {self.size_bytes / 1e6:,.1f} MB in {self.elapsed_s:,.1f} s, "
            f"{self.images_per_s:,.0f}/s"
        )


def crawl(
    catalog: pl.DataFrame | pl.LazyFrame,
    archive: Place,
    options: CrawlOptions,
    advance: Advance = silent,
    observe: Observe = unseen,
) -> CrawlReport:
    """Fetch the posters of a catalogue into an archive; what is there already is not fetched again.

    Args:
        catalog: With the columns of ``crawler.catalog.CATALOG_SCHEMA``.
        archive: Folder or URL; made if there is none.
        options: Where from, how fast, which movies.
        advance: Told how many posters have ended, about once a second.
        observe: Told how the crawl stands, about once a second.

    Returns:
        Counts over the whole archive and of this call.

    Raises:
        UnusableInput: The archive holds another crawl, or the selection is empty.
        WorkFailed: Shards could not be written or were lost again and again; the others are committed.
    """
    started_s = time.monotonic()
    selected = select(catalog, options.selection)
    digest, requested = measure(selected)
    manifest = Manifest(
        catalog_digest=digest,
        requested=requested,
        image_base=check_image_base(options.image_base),
        shard_size=options.shard_size,
    )
    store = open_store(archive)
    with opened_for_crawl(archive, manifest) as folder:
        before = set(committed_shards(folder))
        there = min(len(before) * options.shard_size, requested)
        advance(there)
        if options.retry_failed or options.refresh:
            todo = revisits(sorted(before), functools.partial(read_sidecar, folder), options.retry_failed)
            monitor = Monitor(None, store, observe)
        else:
            todo = remaining(plans(selected, options.image_base, options.shard_size), before)
            monitor = Monitor(requested - there, store, observe)
        first = next(todo, None)
        receipts = _run(chain([first], todo), folder, options, _Watch(monitor, advance)) if first else []
        return _report(folder, store.url, requested, len(before), receipts, time.monotonic() - started_s)


class _Watch:
    """Asks the cluster how far the shards in flight are, and tells whoever looks on."""

    def __init__(self, monitor: Monitor, advance: Advance) -> None:
        self._monitor = monitor
        self._advance = advance
        self._shown = 0
        self._rates: dict[str, float] = {}
        self.crawl_id = uuid.uuid4().hex

    def look(self, ledger: Any, receipts: list[ShardReceipt], names: list[str]) -> None:
        """Look at the crawl as it stands.

        Args:
            ledger: The cluster's.
            receipts: Of the finished shards.
            names: Shards in flight; those are counted as far as their workers have reported.
        """
        live: list[Tally] = []
        try:
            live, self._rates = ray.get(ledger.standing.remote(self.crawl_id, names), timeout=LOOK_S)
        except (RayError, TimeoutError) as error:  # it is restarted or far away; the next look may find it
            _log.info("the ledger did not say how the crawl stands: %s", str(error).partition("\n")[0])
        snapshot = self._monitor.update(Tally.total([*map(Tally.of, receipts), *live]), self._rates)
        self._advance(snapshot.tally.done - self._shown, str(snapshot))
        self._shown = snapshot.tally.done

    def finish(self, receipts: list[ShardReceipt]) -> None:
        """Take the last look, however the crawl ended."""
        tally = Tally.total(map(Tally.of, receipts))
        self._advance(tally.done - self._shown)
        self._monitor.finish(tally, self._rates)


def _run(todo: Iterator[ShardPlan], folder: Store, options: CrawlOptions, watch: _Watch) -> list[ShardReceipt]:
    """Keep as many shards in work as there are workers, until all are done or have failed for good."""
    shards = _Shards(todo)
    with connected(options.workers_used):
        # A worker mostly waits for the network, so all of them share whatever CPUs this Ray has.
        share = min(1.0, ray.cluster_resources().get("CPU", 1.0) / options.workers_used)
        task = ray.remote(_crawl_shard).options(num_cpus=share, max_retries=0)
        ledger = _ledger()
        in_flight: dict[ray.ObjectRef[Any], ShardPlan] = {}
        looked_s = time.monotonic()
        try:
            while True:
                while len(in_flight) < options.workers_used and (plan := shards.next()):
                    in_flight[task.remote(plan, folder, options, ledger, watch.crawl_id)] = plan
                if not in_flight:
                    break
                _settle(in_flight, shards, LOOK_S)
                if time.monotonic() - looked_s >= LOOK_S:
                    looked_s = time.monotonic()
                    watch.look(ledger, shards.receipts, [plan.name for plan in in_flight.values()])
        except KeyboardInterrupt:
            end_s = time.monotonic() + GRACE_S
            while in_flight and (left_s := end_s - time.monotonic()) > 0:
                _settle(in_flight, shards, left_s)
            for reference in in_flight:
                ray.cancel(reference, force=True)
            raise
        finally:
            watch.finish(shards.receipts)
    shards.check()
    return shards.receipts


def _settle(in_flight: dict[ray.ObjectRef[Any], ShardPlan], shards: _Shards, timeout_s: float) -> None:
    """Wait for one shard in flight, and take note of how it ended."""
    ready, _ = ray.wait(list(in_flight), num_returns=1, timeout=timeout_s)
    for reference in ready:
        plan = in_flight.pop(reference)
        try:
            receipt: ShardReceipt = ray.get(reference)
        except _LOST as error:
            shards.lost(plan, str(error).partition("\n")[0])
        except (OSError, WorkFailed) as error:  # Ray raises what the task raised
            cause: BaseException = getattr(error, "cause", error)
            shards.failed(plan, cause if isinstance(cause, OSError) else error)
        else:
            shards.finished(plan, receipt)


class _Shards:
    """What became of each shard of a crawl."""

    def __init__(self, todo: Iterator[ShardPlan]) -> None:
        self._todo = todo
        self._again: deque[ShardPlan] = deque()
        self._losses: Counter[str] = Counter()
        self.receipts: list[ShardReceipt] = []
        self.broken: dict[str, str] = {}

    def next(self) -> ShardPlan | None:
        """Give the next plan: one whose worker was lost, or a new one."""
        return self._again.popleft() if self._again else next(self._todo, None)

    def lost(self, plan: ShardPlan, reason: str) -> None:
        """Put a plan back, unless it has lost too many workers for that to be chance."""
        self._losses[plan.name] += 1
        _log.warning("shard %s: its worker was lost (%s), loss %d", plan.name, reason, self._losses[plan.name])
        if self._losses[plan.name] < MOST_LOSSES:
            self._again.append(plan)
        else:
            self.broken[plan.name] = f"its worker was lost {MOST_LOSSES} times"

    def failed(self, plan: ShardPlan, error: OSError | WorkFailed) -> None:
        """Give a shard up; if the disk takes no more, all that are still to come too."""
        self.broken[plan.name] = getattr(error, "strerror", None) or str(error)
        if isinstance(error, OSError) and error.errno in _DISK_IS_FULL:
            self._todo = iter(())
            self._again.clear()

    def finished(self, plan: ShardPlan, receipt: ShardReceipt) -> None:
        """Accept a receipt that accounts for every poster of its plan."""
        accounted = receipt.ok + sum(receipt.failed.values())
        asked = len(plan.requests)
        complete = accounted >= asked if plan.revisit else accounted == asked
        if receipt.name != plan.name or not complete:
            msg = f"shard {plan.name}: its receipt {receipt} does not account for {len(plan.requests)} posters"
            raise WorkFailed(msg)
        self.receipts.append(receipt)

    def check(self) -> None:
        """Fail if a shard could not be finished."""
        if self.broken:
            name, reason = next(iter(self.broken.items()))
            msg = (
                f"crawl: {len(self.broken)} of {len(self.broken) + len(self.receipts)} shards could not be finished "
                f"({name}: {reason}); the others are committed, and the same command again fetches what is missing"
            )
            raise WorkFailed(msg)


def _crawl_shard(plan: ShardPlan, folder: Store, options: CrawlOptions, ledger: Any, crawl_id: str) -> ShardReceipt:
    """Run in a worker process."""
    return _shard_crawler(options, ledger, crawl_id).crawl(plan, folder)


@functools.lru_cache(maxsize=1)
def _shard_crawler(options: CrawlOptions, ledger: Any, crawl_id: str) -> ShardCrawler:
    """Keep the loop and its connections open from one shard of a crawl to the next."""

    async def renew(renewal: Renewal) -> Share:
        try:
            return await ledger.renew.remote(renewal)
        except RayError as error:
            raise OSError(str(error).partition("\n")[0]) from error

    def report(name: str, tally: Tally) -> None:
        ledger.report.remote(crawl_id, name, tally)  # whether it arrives is nobody's worry: the next one will

    return ShardCrawler(options, renew, report).__enter__()


class _ClusterLedger:
    """The ledger in the one process that all workers of a Ray cluster ask."""

    def __init__(self) -> None:
        self._ledger = Ledger()

        self._tallies: dict[str, dict[str, Tally]] = {}

    def renew(self, renewal: Renewal) -> Share:
        return self._ledger.renew(renewal, time.monotonic())

    def report(self, crawl_id: str, name: str, tally: Tally) -> None:
        """Remember how far a shard is; a worker that starts it again begins anew."""
        self._tallies.setdefault(crawl_id, {})[name] = tally
        while len(self._tallies) > MOST_CRAWLS:
            del self._tallies[next(iter(self._tallies))]

    def standing(self, crawl_id: str, names: list[str]) -> tuple[list[Tally], dict[str, float]]:
        """Say how far these shards are, and what every host may be asked; other shards of the crawl are forgotten."""
        known = self._tallies.get(crawl_id, {})
        self._tallies[crawl_id] = {name: known[name] for name in names if name in known}
        return list(self._tallies[crawl_id].values()), self._ledger.rates()


def _ledger() -> Any:
    """Find the cluster's ledger or start it; it stays, so that crawls at the same time share what a host allows."""
    actor = ray.remote(_ClusterLedger).options(
        name="keyart-ledger",
        namespace="keyart",
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
    )
    return actor.remote()


def _report(  # noqa: PLR0913, PLR0917  its fields
    folder: Store, archive: str, requested: int, shards_before: int, receipts: list[ShardReceipt], elapsed_s: float
) -> CrawlReport:
    ok, failed = count_outcomes(folder)
    return CrawlReport(
        archive=archive,
        requested=requested,
        ok=ok,
        failed=failed,
        shards=len(committed_shards(folder)),
        shards_before=shards_before,
        fetched=sum(receipt.ok for receipt in receipts),
        size_bytes=sum(receipt.size_bytes for receipt in receipts),
        elapsed_s=elapsed_s,
    )
