"""One ledger of what each host may be asked, shared by all workers, and the gate that each worker keeps to it.

A host that may be asked R times a second has R *places*. A request takes a place when it is sent and gives it back one
second after its answer has come. Whatever the network delays, no sliding second at the server then holds more
than R requests: at the moment when the last of R+1 was sent, the R others still kept their places, for their
answers came less than a second before or not yet. The ledger only hands out places, so it is asked twice a second per
worker and not once per request (docs/decisions/0004).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from crawler.records import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)

UNLIMITED: Final = 10**9
"""Places of a host without a rate limit."""
RENEW_S: Final = 0.5
"""Between two calls of a worker to the ledger."""
VALID_S: Final = 3.0
"""How long a share may be used without renewal; a worker that is silent for longer has lost it."""
SLOWEST: Final = 1.0
"""Requests per second that trouble never goes below, unless the cap is lower."""
GIVE_UP_AFTER: Final = 100
"""Failures of a host in a row, seen by one worker, after which its posters fail at once; every few seconds one request
finds out whether it is back."""
PROBE_S: Final = 5.0
LONGEST_BLOCK_S: Final = 300.0
"""Longest Retry-After that is waited for; posters of a host that asks for more fail as rate limited."""
_RECOVERY_S: Final = 30.0
"""From a standstill back to the cap, without trouble."""
_CUT_S: Final = 1.0
"""Between two cuts, so that one burst of errors counts once."""
_UNREACHABLE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What one worker tells the ledger about one host."""

    worker: str
    host: str
    rate: float
    """Requests per second over all workers that the crawl allows; infinity for no limit."""
    connections: int
    """Connections over all workers that the crawl allows."""
    demand: int
    """Requests sent or waiting to be sent, at most since the last renewal."""
    places: int
    """Places that the worker may still use or that have not come back."""
    sockets: int
    """Connections that the worker may still use or has in use."""
    answered: int = 0
    """Answers since the last renewal that show a healthy host, 404 included."""
    failed: int = 0
    """Timeouts, broken connections and server errors since then."""
    pushed_back: int = 0
    """Answers 429 and 503 since then."""
    latency_s: float = 0.0
    """Mean time from request to answer since then; 0 without an answer."""
    retry_after_s: float = 0.0
    """Longest wait that the host asked for since then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one worker may do to one host until it renews."""

    places: int
    period_s: float
    """How long a place rests after its answer."""
    sockets: int
    blocked_s: float
    """Nothing may be sent for so long."""
    rate: float
    """Requests per second that all workers share now."""


@dataclass(slots=True)
class _Holder:
    """One worker's part of a host."""

    renewal: Renewal
    seen_s: float
    places: int = 0
    sockets: int = 0


@dataclass(slots=True)
class _Host:
    """What the ledger knows of one host."""

    rate: float
    """Requests per second now: never above the cap."""
    grown_s: float
    cut_s: float = -math.inf
    blocked_until_s: float = -math.inf
    best_latency_s: float = math.inf
    answered: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    holders: dict[str, _Holder] = field(default_factory=dict[str, _Holder])


class Ledger:
    """Shares of every host's rate and connections; pure, so time is an argument.

    Trouble cuts a host's rate at once and by a factor, success raises it slowly and by a constant, never above the cap.

    Example:
        >>> ledger = Ledger()
        >>> asks = Renewal(worker="a", host="h", rate=20, connections=10, demand=50, places=0, sockets=0)
        >>> ledger.renew(asks, now_s=0.0).places
        20
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def renew(self, renewal: Renewal, now_s: float) -> Share:
        """Take a worker's report and give it its share.

        Args:
            renewal: What the worker says.
            now_s: Time on any clock that never goes back.

        Returns:
            What the worker may do; all shares of a host together never exceed its caps.
        """
        host = self._hosts.setdefault(renewal.host, _Host(rate=renewal.rate, grown_s=now_s))
        period_s = _period_s(host.rate)
        for name in [name for name, holder in host.holders.items() if now_s - holder.seen_s > VALID_S + period_s + 1]:
            del host.holders[name]
        if not host.holders and now_s - host.cut_s > _RECOVERY_S:
            host.rate = renewal.rate  # a new crawl of a host that is well: the last one's limit was the last one's
        holder = host.holders.setdefault(renewal.worker, _Holder(renewal=renewal, seen_s=now_s))
        holder.renewal, holder.seen_s = renewal, now_s
        cap = min(other.renewal.rate for other in host.holders.values())
        _adapt(host, renewal, cap, now_s)
        others = [other for name, other in host.holders.items() if name != renewal.worker]
        demands = [other.renewal.demand for other in others]
        places = _share(_places(host.rate), renewal.demand, demands, (other.places for other in others))
        most = min(other.renewal.connections for other in host.holders.values())
        sockets = _share(most, renewal.demand, demands, (other.sockets for other in others))
        # Until its next report the worker may act on what it had or on what it gets now.
        holder.places, holder.sockets = max(places, renewal.places), max(sockets, renewal.sockets)
        return Share(
            places=places,
            period_s=_period_s(host.rate),
            sockets=sockets,
            blocked_s=max(0.0, host.blocked_until_s - now_s),
            rate=host.rate,
        )

    def rates(self) -> dict[str, float]:
        """Requests per second that each host may be asked now that somebody asks."""
        return {name: host.rate for name, host in self._hosts.items() if host.holders}


def _adapt(host: _Host, renewal: Renewal, cap: float, now_s: float) -> None:
    """Additive increase, multiplicative decrease."""
    host.blocked_until_s = max(host.blocked_until_s, now_s + renewal.retry_after_s)
    host.answered.append((now_s, renewal.answered))
    while host.answered[0][0] < now_s - _RECOVERY_S:
        host.answered.popleft()
    if renewal.latency_s:
        host.best_latency_s = min(host.best_latency_s, renewal.latency_s)
    factor = 1.0
    if renewal.pushed_back or renewal.failed > max(1, (renewal.answered + renewal.failed) // 10):
        factor = 0.5
    elif renewal.latency_s > 3 * host.best_latency_s + 0.1:
        factor = 0.8
    reference = cap if math.isfinite(cap) else _throughput(host, now_s)
    if factor < 1:
        if now_s - host.cut_s >= _CUT_S:
            host.rate = max(min(SLOWEST, cap), factor * min(host.rate, reference))
            host.cut_s = now_s
    elif renewal.answered:
        host.rate += reference * (now_s - host.grown_s) / _RECOVERY_S
        if host.rate > 4 * reference:  # only without a cap: there is no trouble left to be careful about
            host.rate = math.inf
    host.grown_s = now_s
    host.rate = min(host.rate, cap)


def _throughput(host: _Host, now_s: float) -> float:
    """Answers per second over the last half minute."""
    return max(1.0, sum(count for _, count in host.answered) / max(1.0, now_s - host.answered[0][0]))


def _places(rate: float) -> int:
    return UNLIMITED if math.isinf(rate) else max(1, math.floor(rate))


def _period_s(rate: float) -> float:
    return 0.0 if math.isinf(rate) else max(1.0, 1 / rate)


def _share(total: int, demand: int, demands: list[int], taken: Iterable[int]) -> int:
    """Give one of several workers its even part of a total; what some do not need, the others get."""
    if total >= UNLIMITED:
        return total
    left, part = total, 0
    for index, other in enumerate(sorted([*demands, demand])):
        part = -(-left // (len(demands) + 1 - index))
        left -= min(other, part)
    return max(0, min(demand, max(part, total // (len(demands) + 1)), total - sum(taken)))


class LedgerClient(Protocol):
    """How a gate reaches the ledger, wherever it is."""

    async def __call__(self, renewal: Renewal) -> Share:
        """Renew; raises ``OSError`` where the ledger cannot be reached."""
        ...


class LocalLedger:
    """A ledger of this process alone."""

    def __init__(self) -> None:
        self._ledger = Ledger()

    async def __call__(self, renewal: Renewal) -> Share:
        """Renew."""
        return self._ledger.renew(renewal, asyncio.get_running_loop().time())


class Gate:
    """Keeps one worker's requests to its shares; used from one event loop."""

    def __init__(self, client: LedgerClient, *, worker: str, rate: float, connections: int) -> None:
        """Prepare; the ledger is asked when the first request comes.

        Args:
            client: Reaches the ledger.
            worker: Unique name of this worker.
            rate: Requests per second over all workers; infinity for no limit.
            connections: Connections over all workers.
        """
        self._client = client
        self._worker = worker
        self._rate = rate
        self._connections = connections
        self._hosts: dict[str, _HostGate] = {}

    async def enter(self, host: str) -> Reason | None:
        """Wait until a request may be sent.

        Returns:
            None when it may; otherwise why this host is not asked any more.

        Raises:
            OSError: The ledger cannot be reached.
        """
        gate = self._hosts.get(host)
        if gate is None:
            blank = Renewal(
                worker=self._worker,
                host=host,
                rate=self._rate,
                connections=self._connections,
                demand=0,
                places=0,
                sockets=0,
            )
            gate = self._hosts[host] = _HostGate(self._client, blank)
        return await gate.enter()

    def leave(self, host: str, turn: Turn) -> None:
        """Say how a request ended that ``enter`` let pass."""
        self._hosts[host].leave(turn)

    def rates(self) -> dict[str, float]:
        """Requests per second that all workers share now, by host."""
        return {host: gate.share.rate for host, gate in self._hosts.items() if gate.share is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How one request ended."""

    latency_s: float
    trouble: Reason | None = None
    """Why the host could not answer; None where it did, with 404 too."""
    pushed_back: bool = False
    """It answered 429 or 503."""
    retry_after_s: float = 0.0


class _HostGate:
    """One worker's turns at one host."""

    def __init__(self, client: LedgerClient, blank: Renewal) -> None:
        self._client = client
        self._blank = blank
        self.share: Share | None = None
        self._valid_until_s = -math.inf
        self._blocked_until_s = -math.inf
        self._next_s = -math.inf
        self._waiting = 0
        self._sent = 0
        self._peak = self._peak_before = 0
        self._troubles = 0
        self._last_trouble = Reason.CONNECTION
        self._probe_s = -math.inf
        self._resting: deque[float] = deque()
        self._turns: list[Turn] = []
        self._line = asyncio.Lock()
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._renewing: asyncio.Task[None] | None = None

    async def enter(self) -> Reason | None:
        if not self._waiting and self._troubles < GIVE_UP_AFTER and self.share is not None and not self._wait_s():
            self._send()  # nobody is in line: the common case without a rate limit
            return None
        self._waiting += 1
        self._peak = max(self._peak, self._waiting + self._sent)
        try:
            async with self._line:  # first come, first served
                if self._given_up():
                    return self._last_trouble
                while wait_s := self._wait_s():
                    if self._blocked_until_s - self._now_s() > LONGEST_BLOCK_S:
                        return Reason.RATE_LIMITED
                    if self._renewing is None or self._renewing.done():
                        if self._renewing is not None:
                            self._renewing.result()  # an unreachable ledger is raised here
                        self._renewing = asyncio.create_task(self._renew())
                    self._changed.clear()
                    try:
                        async with asyncio.timeout(wait_s):
                            await self._changed.wait()
                    except TimeoutError:
                        continue
                self._send()
                return None
        finally:
            self._waiting -= 1

    def _send(self) -> None:
        self._sent += 1
        self._peak = max(self._peak, self._waiting + self._sent)
        if self.share and self.share.places < UNLIMITED:
            self._next_s = self._now_s() + self.share.period_s / self.share.places

    def _given_up(self) -> bool:
        """Say whether the host has failed for so long that only a probe is sent now and then."""
        now_s = self._now_s()
        if self._troubles < GIVE_UP_AFTER:
            return False
        if now_s < self._probe_s:
            return True
        self._probe_s = now_s + PROBE_S
        return False

    def leave(self, turn: Turn) -> None:
        now_s = self._now_s()
        self._sent -= 1
        self._turns.append(turn)
        if turn.trouble is not None:
            self._troubles, self._last_trouble = self._troubles + 1, turn.trouble
        else:
            self._troubles = 0
        if self.share is not None and self.share.period_s:
            self._resting.append(now_s + self.share.period_s)
        if turn.retry_after_s:
            self._blocked_until_s = max(self._blocked_until_s, now_s + turn.retry_after_s)
        if turn.pushed_back:
            self._urgent.set()  # the other workers shall know at once
        self._changed.set()

    def _wait_s(self) -> float:
        """Seconds until something may be different; 0 if a request may be sent now."""
        now_s = self._now_s()
        if self.share is None or now_s >= self._valid_until_s:
            return VALID_S
        while self._resting and self._resting[0] <= now_s:
            self._resting.popleft()
        if self._sent >= self.share.sockets:
            return VALID_S
        if self._sent + len(self._resting) >= self.share.places:
            return min(VALID_S, self._resting[0] - now_s) if self._resting else VALID_S
        return max(0.0, min(VALID_S, max(self._blocked_until_s, self._next_s) - now_s))

    async def _renew(self) -> None:
        """Renew the share for as long as there is work."""
        lost_s = 0.0
        while self._waiting or self._sent:
            self._urgent.clear()
            asked_s = self._now_s()
            turns, self._turns = self._turns, []
            try:
                share = await self._client(self._report(turns))
            except OSError:
                lost_s += RENEW_S
                if lost_s >= _UNREACHABLE_S:
                    raise
                _log.warning("the rate ledger cannot be reached; trying again", exc_info=True)
            else:
                lost_s = 0.0
                self.share = share
                self._valid_until_s = asked_s + VALID_S
                self._blocked_until_s = max(self._blocked_until_s, asked_s + share.blocked_s)
                self._changed.set()
            try:
                async with asyncio.timeout(RENEW_S):
                    await self._urgent.wait()
            except TimeoutError:
                continue

    def _report(self, turns: list[Turn]) -> Renewal:
        share, blank = self.share, self._blank
        # The most of two intervals: how many wait at this very moment is chance.
        demand = max(self._peak, self._peak_before)
        self._peak, self._peak_before = self._waiting + self._sent, self._peak
        valid = share is not None and self._now_s() < self._valid_until_s
        answers = [turn.latency_s for turn in turns if turn.trouble is None]
        return Renewal(
            worker=blank.worker,
            host=blank.host,
            rate=blank.rate,
            connections=blank.connections,
            demand=demand,
            places=max(share.places if share and valid else 0, self._sent + len(self._resting)),
            sockets=max(share.sockets if share and valid else 0, self._sent),
            answered=len(answers),
            failed=sum(turn.trouble is not None and not turn.pushed_back for turn in turns),
            pushed_back=sum(turn.pushed_back for turn in turns),
            latency_s=sum(answers) / len(answers) if answers else 0.0,
            retry_after_s=max((turn.retry_after_s for turn in turns), default=0.0),
        )

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()
