"""No host is asked more than it may be, however many workers ask, and trouble slows all of them down."""

from __future__ import annotations

import asyncio
import errno
import math
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.politeness import (
    GIVE_UP_AFTER,
    LONGEST_BLOCK_S,
    UNLIMITED,
    Gate,
    Ledger,
    LocalLedger,
    Renewal,
    Share,
    Turn,
)
from crawler.records import Reason

BLANK = Renewal(worker="a", host="h", rate=20, connections=10, demand=50, places=0, sockets=0)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.3, 1, 7, 20, 200]),
    st.integers(1, 30),
    st.integers(1, 6),
)
def test_shares_never_exceed_the_caps(seed: int, rate: float, connections: int, workers: int) -> None:
    """Whatever workers report, and whichever of them vanish, what all may use at one time is within the caps."""
    chance = random.Random(seed)
    ledger = Ledger()
    held: dict[str, tuple[int, int, float]] = {}
    now_s = 0.0
    for _ in range(60):
        now_s += chance.choice([0.01, 0.5, 1, 5])
        name = f"worker-{chance.randrange(workers)}"
        places, sockets, seen_s = held.get(name, (0, 0, -math.inf))
        if now_s - seen_s > 3:
            places, sockets = 0, 0  # its share has lapsed, and all its requests are long answered
        report = Renewal(
            worker=name,
            host="h",
            rate=rate,
            connections=connections,
            demand=chance.choice([0, 1, 5, 100]),
            places=chance.randint(places // 2, places),
            sockets=chance.randint(sockets // 2, sockets),
            answered=chance.choice([0, 10]),
            failed=chance.choice([0, 0, 5]),
            pushed_back=chance.choice([0, 0, 0, 1]),
            latency_s=chance.choice([0.0, 0.05, 2.0]),
        )
        share = ledger.renew(report, now_s)
        held[name] = (max(share.places, report.places), max(share.sockets, report.sockets), now_s)
        usable = [(used, open_) for used, open_, seen in held.values() if now_s - seen <= 3]
        assert sum(used for used, _ in usable) <= max(1, math.floor(rate))
        assert sum(open_ for _, open_ in usable) <= connections
        assert share.rate <= rate


def test_a_share_moves_to_where_the_work_is() -> None:
    """Two busy workers come to share evenly; when one has no more work, the other gets all."""
    ledger = Ledger()
    shares: dict[str, Share] = {}

    def renew(worker: str, demand: int, now_s: float) -> None:
        places = shares[worker].places if worker in shares else 0
        shares[worker] = ledger.renew(replace(BLANK, worker=worker, demand=demand, places=places), now_s)

    for step in range(6):
        renew("a", 50, step / 2)
        renew("b", 50, step / 2)
    assert (shares["a"].places, shares["b"].places) == (10, 10)
    for step in range(6, 12):
        renew("a", 50, step / 2)
        renew("b", 0, step / 2)
    assert (shares["a"].places, shares["b"].places) == (20, 0)


def test_trouble_slows_down_and_success_speeds_up_to_the_cap() -> None:
    """One answer 429 halves the rate at once; success brings it back slowly, and never above the cap."""
    ledger = Ledger()
    healthy = replace(BLANK, answered=10, latency_s=0.05)
    assert ledger.renew(healthy, 0).rate == 20
    assert ledger.renew(replace(healthy, pushed_back=1), 10).rate == 10
    assert ledger.renew(replace(healthy, pushed_back=1), 10.5).rate == 10  # the same burst
    rates = [ledger.renew(healthy, 11 + second).rate for second in range(40)]
    assert rates == sorted(rates)
    assert rates[5] < 15
    assert rates[-1] == 20


def test_growing_latency_slows_down() -> None:
    """A host that answers ever later is asked less, before it fails."""
    ledger = Ledger()
    ledger.renew(replace(BLANK, answered=10, latency_s=0.05), 0)
    assert ledger.renew(replace(BLANK, answered=10, latency_s=0.6), 5).rate == 16


def test_a_few_errors_are_the_webs_weather() -> None:
    """One error among many answers changes nothing; every second request failing does."""
    ledger = Ledger()
    assert ledger.renew(replace(BLANK, answered=50, failed=2), 0).rate == 20
    assert ledger.renew(replace(BLANK, answered=5, failed=5), 5).rate == 10


def test_no_limit_finds_one_in_trouble() -> None:
    """Without a cap nothing is counted until the host pushes back; then the measured rate is halved."""
    ledger = Ledger()
    free = replace(BLANK, rate=math.inf, answered=500, latency_s=0.01)
    for second in range(10):
        assert ledger.renew(free, second).places == UNLIMITED
    cut = ledger.renew(replace(free, pushed_back=3), 10)
    assert 200 < cut.rate < 400
    assert cut.places < UNLIMITED


def test_retry_after_blocks_the_host_for_all() -> None:
    """What one worker was told holds for the others too."""
    ledger = Ledger()
    ledger.renew(replace(BLANK, pushed_back=1, retry_after_s=7), 0)
    assert ledger.renew(replace(BLANK, worker="b"), 3).blocked_s == 4


async def _ask(gate: Gate, sent_s: list[float], times: int, turn: Turn) -> None:
    for _ in range(times):
        assert await gate.enter("h") is None
        sent_s.append(time.monotonic())
        await asyncio.sleep(0.01)
        gate.leave("h", turn)


def test_gates_of_one_ledger_keep_the_rate_together() -> None:
    """Three gates with many askers each: no sliding second holds more than the rate."""
    sent_s: list[float] = []

    async def crawl() -> None:
        ledger = LocalLedger()
        gates = [Gate(ledger, worker=f"w{number}", rate=30, connections=9) for number in range(3)]
        async with asyncio.TaskGroup() as group:
            for gate in gates:
                for _ in range(10):
                    group.create_task(_ask(gate, sent_s, 4, Turn(latency_s=0.01)))

    asyncio.run(crawl())
    assert len(sent_s) == 120
    assert max(sum(1 for other in sent_s if start <= other < start + 1) for start in sent_s) <= 30


def test_a_gate_obeys_retry_after_at_once() -> None:
    """After a push-back nothing is sent for as long as the host asked."""
    sent_s: list[float] = []

    async def crawl() -> None:
        gate = Gate(LocalLedger(), worker="w", rate=math.inf, connections=2)
        await _ask(
            gate, sent_s, 1, Turn(latency_s=0.01, trouble=Reason.RATE_LIMITED, pushed_back=True, retry_after_s=1.5)
        )
        await _ask(gate, sent_s, 1, Turn(latency_s=0.01))

    asyncio.run(crawl())
    assert sent_s[1] - sent_s[0] >= 1.5


def test_a_host_that_wants_to_be_left_alone_is() -> None:
    """Longer than the longest wait, the gate says no instead of waiting."""

    async def crawl() -> Reason | None:
        gate = Gate(LocalLedger(), worker="w", rate=math.inf, connections=2)
        wait = Turn(latency_s=0.01, trouble=Reason.RATE_LIMITED, pushed_back=True, retry_after_s=LONGEST_BLOCK_S * 2)
        await _ask(gate, [], 1, wait)
        return await gate.enter("h")

    assert asyncio.run(crawl()) is Reason.RATE_LIMITED


def test_a_dead_host_is_given_up_and_probed() -> None:
    """After a hundred failures in a row its posters fail at once; a probe that succeeds brings it back."""

    async def crawl() -> list[Reason | None]:
        gate = Gate(LocalLedger(), worker="w", rate=math.inf, connections=200)
        await asyncio.gather(*(gate.enter("h") for _ in range(GIVE_UP_AFTER)))
        for _ in range(GIVE_UP_AFTER):
            gate.leave("h", Turn(latency_s=0.01, trouble=Reason.TIMEOUT))
        answers = [await gate.enter("h"), await gate.enter("h"), await gate.enter("h")]
        gate.leave("h", Turn(latency_s=0.01))
        return [*answers, await gate.enter("h")]

    assert asyncio.run(crawl()) == [None, Reason.TIMEOUT, Reason.TIMEOUT, None]


def test_a_lost_ledger_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate whose ledger cannot be reached raises after a while; nobody waits forever."""
    monkeypatch.setattr("crawler.politeness._UNREACHABLE_S", 1.0)

    async def lost(_renewal: Renewal) -> Share:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "the node is gone")

    async def crawl() -> None:
        await Gate(lost, worker="w", rate=1, connections=1).enter("h")

    with pytest.raises(OSError, match="the node is gone"):
        asyncio.run(crawl())
