"""Counts of a running crawl -> a line for a person, numbers for Prometheus, and a history in the archive."""

from __future__ import annotations

import io
import logging
import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import polars as pl
import prometheus_client as prometheus
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from crawler.errors import UnusableInput, WorkFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from crawler.records import ShardReceipt
    from crawler.storage import Store

_log = logging.getLogger(__name__)

HISTORY_FOLDER: Final = "history"
"""Folder of an archive with one Parquet file per crawl into it: a row every ``EVERY_S``."""
EVERY_S: Final = 5.0
WRITE_S: Final = 60.0
"""Between two writes of the history; the last one is at the end."""
_WINDOW_S: Final = 15.0
"""What the current speed is taken over."""
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What became of some posters."""

    ok: int = 0
    failed: Mapping[str, int] = field(default_factory=dict[str, int])
    """By reason."""
    size_bytes: int = 0
    """Of the stored ones."""

    @property
    def done(self) -> int:
        """Posters that have ended."""
        return self.ok + sum(self.failed.values())

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        """Add some up."""
        ok, size_bytes = 0, 0
        failed: Counter[str] = Counter()
        for tally in tallies:
            ok, size_bytes = ok + tally.ok, size_bytes + tally.size_bytes
            failed.update(tally.failed)
        return cls(ok=ok, failed=dict(failed.most_common()), size_bytes=size_bytes)

    @classmethod
    def of(cls, receipt: ShardReceipt) -> Tally:
        """Count a finished shard; its bytes are those of the tar."""
        failed = {str(reason): count for reason, count in receipt.failed.items()}
        return cls(ok=receipt.ok, failed=failed, size_bytes=receipt.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a crawl stands."""

    at: datetime
    elapsed_s: float
    tally: Tally
    """Of this call."""
    left: int | None
    """Posters still to come; None where that is not known beforehand."""
    images_per_s: float
    """Posters that ended per second, failures included, lately."""
    bytes_per_s: float
    rates: Mapping[str, float]
    """Requests per second that each host may be asked now, over all workers; infinity for no limit."""

    @property
    def left_s(self) -> float | None:
        """Time left at the current speed; None where nothing can be said."""
        return self.left / self.images_per_s if self.left is not None and self.images_per_s else None

    def __str__(self) -> str:
        """Fit one line beside a progress bar."""
        worst = [f"{reason.replace('_', ' ')} {count:,}" for reason, count in list(self.tally.failed.items())[:3]]
        limits = [f"{host} {rate:,.0f}/s" for host, rate in sorted(self.rates.items())[:2] if rate != float("inf")]
        speed = f"{self.images_per_s:,.0f}/s {self.bytes_per_s / 1e6:,.1f} MB/s"
        parts = [speed, f"ok {self.tally.ok:,}", *worst, *(["limit", *limits] if limits else [])]
        return ", ".join(parts).replace("limit, ", "limit ") + (f", {_span(self.left_s)} left" if self.left_s else "")


Observe: TypeAlias = "Callable[[Snapshot], None]"
"""Receives a snapshot about once a second."""


class Monitor:
    """Follows one crawl."""

    def __init__(self, to_do: int | None, archive: Store, observe: Observe) -> None:
        """Begin.

        Args:
            to_do: Posters that this call is to fetch; None where that is not known.
            archive: Where the history goes.
            observe: Is told each snapshot.
        """
        self._to_do = to_do
        self._archive = archive
        self._observe = observe
        self._started_s = self._noted_s = self._written_s = time.monotonic()
        self._name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.parquet"
        self._window: deque[tuple[float, int, int]] = deque([(self._started_s, 0, 0)])
        self._rows: list[dict[str, Any]] = []

    def update(self, tally: Tally, rates: Mapping[str, float]) -> Snapshot:
        """Take note of the state of this call."""
        now_s = time.monotonic()
        self._window.append((now_s, tally.done, tally.size_bytes))
        while self._window[0][0] < now_s - _WINDOW_S and len(self._window) > 2:  # noqa: PLR2004  a span has two ends
            self._window.popleft()
        first_s, first_done, first_bytes = self._window[0]
        span_s = max(1e-3, now_s - first_s)
        snapshot = Snapshot(
            at=datetime.now(UTC),
            elapsed_s=now_s - self._started_s,
            tally=tally,
            left=None if self._to_do is None else max(0, self._to_do - tally.done),
            images_per_s=max(0.0, (tally.done - first_done) / span_s),
            bytes_per_s=max(0.0, (tally.size_bytes - first_bytes) / span_s),
            rates=rates,
        )
        self._observe(snapshot)
        if now_s - self._noted_s >= EVERY_S:
            self._note(snapshot)
            self._noted_s = now_s
        if self._rows and now_s - self._written_s >= WRITE_S:
            self.write()
        return snapshot

    def finish(self, tally: Tally, rates: Mapping[str, float]) -> None:
        """Write the last row and the history."""
        self._note(self.update(tally, rates))
        self.write()

    def write(self) -> None:
        """Write the history so far; a crawl does not end because its history could not be written."""
        self._written_s = time.monotonic()
        stream = io.BytesIO()
        pl.DataFrame(self._rows, schema=HISTORY_SCHEMA).write_parquet(stream)
        try:
            self._archive.within(HISTORY_FOLDER).put(self._name, stream.getvalue())
        except WorkFailed:
            _log.warning("archive %s: the history could not be written", self._archive.url, exc_info=True)

    def _note(self, snapshot: Snapshot) -> None:
        row = asdict(snapshot)
        counts = row.pop("tally")
        failed = [{"reason": reason, "posters": count} for reason, count in counts.pop("failed").items()]
        rates = [{"host": host, "per_s": float(rate)} for host, rate in row.pop("rates").items()]
        self._rows.append(row | counts | {"failed": failed, "rates": rates})


HISTORY_SCHEMA: Final[dict[str, Any]] = {
    "at": pl.Datetime("ms", "UTC"),
    "elapsed_s": pl.Float64(),
    "ok": pl.Int64(),
    "failed": pl.List(pl.Struct({"reason": pl.String(), "posters": pl.Int64()})),
    "size_bytes": pl.Int64(),
    "left": pl.Int64(),
    "images_per_s": pl.Float64(),
    "bytes_per_s": pl.Float64(),
    "rates": pl.List(pl.Struct({"host": pl.String(), "per_s": pl.Float64()})),
}
"""Columns of a history: counts since the crawl began, speed over the last 15 seconds, limits at that moment."""


def unseen(snapshot: Snapshot) -> None:
    """Ignore a snapshot: the default of ``crawl``."""


@contextmanager
def metrics_served(port: int | None) -> Generator[Observe]:
    """Serve a crawl's numbers to Prometheus on a port of this machine while the block runs.

    Args:
        port: TCP port; 0 takes any free one, None serves nothing.

    Yields:
        What to tell each snapshot.

    Raises:
        UnusableInput: The port cannot be had.
    """
    if port is None:
        yield unseen
        return
    numbers = _Numbers()
    registry = prometheus.CollectorRegistry()
    registry.register(numbers)
    try:
        server, thread = prometheus.start_http_server(port, "127.0.0.1", registry)
    except (OSError, OverflowError) as error:
        msg = f"--metrics-port {port}: cannot be listened on ({error}); expected a free port, 1 to 65535"
        raise UnusableInput(msg) from error
    _log.info("metrics at http://127.0.0.1:%d/metrics", server.server_port)
    try:
        yield numbers.observe
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Numbers(Collector):
    """The last snapshot in the words of Prometheus."""

    def __init__(self) -> None:
        self._last: Snapshot | None = None

    def observe(self, snapshot: Snapshot) -> None:
        self._last = snapshot

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if (last := self._last) is None:
            return
        posters = GaugeMetricFamily("keyart_crawl_posters", "Posters of this crawl by outcome", labels=["outcome"])
        for outcome, count in {"ok": last.tally.ok, **last.tally.failed}.items():
            posters.add_metric([outcome], count)
        limits = GaugeMetricFamily("keyart_crawl_limit", "Requests per second a host may be asked", labels=["host"])
        for host, rate in last.rates.items():
            limits.add_metric([host], rate)
        yield posters
        yield limits
        yield GaugeMetricFamily("keyart_crawl_bytes", "Bytes of the stored posters", last.tally.size_bytes)
        yield GaugeMetricFamily("keyart_crawl_posters_per_second", "Posters ended lately", last.images_per_s)
        yield GaugeMetricFamily("keyart_crawl_bytes_per_second", "Bytes stored lately", last.bytes_per_s)
        if last.left is not None:
            yield GaugeMetricFamily("keyart_crawl_posters_left", "Posters still to come", last.left)
        if last.left_s is not None:
            yield GaugeMetricFamily("keyart_crawl_seconds_left", "Time left at the current speed", last.left_s)


def _span(seconds: float | None) -> str:
    minutes = round((seconds or 0) / _MINUTE_S)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= _MINUTE_S else f"{max(1, minutes)} min"
