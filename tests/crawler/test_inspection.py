"""Bodies wait in a bounded line for a thread, and what goes wrong there is raised in the loop."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from crawler import inspection
from crawler.inspection import Inspection
from crawler.records import Failure, Fetched, PosterRecord, PosterRequest, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

_STREAM = io.BytesIO()
Image.new("RGB", (16, 24), (200, 90, 30)).save(_STREAM, "JPEG")
POSTER = _STREAM.getvalue()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def fetched(movie_id: int, body: bytes = POSTER) -> Fetched:
    """A body that came."""
    request = PosterRequest(movie_id=movie_id, url="https://host/a.jpg")
    return Fetched(request=request, body=body, http_status=200, attempts=1, fetched_at=NOON)


def inspect_all(
    outcomes: list[Fetched | Failure], keep: Callable[[PosterRecord], PosterRecord]
) -> list[PosterRecord | Failure]:
    """Bring all, four at a time."""

    async def bring() -> list[PosterRecord | Failure]:
        with ThreadPoolExecutor(1) as threads:
            line = Inspection(threads, keep)
            left = iter(outcomes)

            async def one() -> None:
                for outcome in left:
                    await line.add(outcome)

            await asyncio.gather(*(one() for _ in range(4)))
            return await line.finish()

    return asyncio.run(asyncio.wait_for(bring(), 60))


@pytest.mark.parametrize("line_bytes", [10 * len(POSTER), len(POSTER), 1])
def test_every_body_has_an_outcome(line_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little may wait: posters become records, other bytes and failures keep their reason."""
    monkeypatch.setattr(inspection, "LINE_BYTES", line_bytes)
    away = Failure(request=PosterRequest(movie_id=3, url="x"), reason=Reason.DNS, attempts=1, fetched_at=NOON)
    brought = [fetched(number) for number in range(10, 90)]
    outcomes = inspect_all([*brought, fetched(5, b"<html>"), away], lambda record: record)
    reasons = {outcome.movie_id: outcome.reason for outcome in outcomes if isinstance(outcome, Failure)}
    assert reasons == {5: Reason.NOT_AN_IMAGE, 3: Reason.DNS}
    assert sorted(outcome.movie_id for outcome in outcomes) == [3, 5, *range(10, 90)]


@pytest.mark.parametrize("line_bytes", [2**25, 1])
def test_a_full_disk_is_raised(line_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether somebody is waiting for room or nobody is: no call hangs."""
    monkeypatch.setattr(inspection, "LINE_BYTES", line_bytes)

    def full(record: PosterRecord) -> PosterRecord:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        inspect_all([fetched(number) for number in range(40)], full)
