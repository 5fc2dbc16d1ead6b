"""An archive in a bucket -> the right of one process at a time to write it.

A disk has locks that end with their process; a bucket has conditional writes. The holder writes ``lease.json`` again
every few seconds, each time over the version that it wrote before. A lease that is not renewed for ``LEASE_S`` may be
taken over, and of several that try the bucket lets one succeed. Only the bucket's own clock is looked at.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.bucket import BucketStore

_log = logging.getLogger(__name__)

LEASE_NAME: Final = "lease.json"
LEASE_S: Final = 30.0
"""Without renewal, after which a lease is nobody's."""
RENEW_S: Final = 8.0


@contextmanager
def leased(archive: BucketStore, lease_s: float = LEASE_S, renew_s: float = RENEW_S) -> Generator[BucketStore]:
    """Be the only one who writes an archive while the block runs.

    Args:
        archive: The archive's folder.
        lease_s: How old a lease must be to be taken over.
        renew_s: Between two renewals.

    Yields:
        The archive, with the holder's name in it: shards committed through it check that the lease is still held.

    Raises:
        WorkFailed: Somebody else holds it, or the bucket cannot be written.
    """
    holder = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
    tag = _acquire(archive, holder, lease_s, renew_s)
    ended = threading.Event()
    thread = threading.Thread(target=_renew, args=(archive, holder, tag, ended, renew_s), name="lease", daemon=True)
    thread.start()
    try:
        yield archive.held_by(archive.url, holder)
    finally:
        ended.set()
        thread.join()
        if _holder(archive) == holder:
            archive.delete(LEASE_NAME)


def check_held(store: BucketStore) -> None:
    """Fail if the crawl that a worker works for has lost its archive.

    Raises:
        WorkFailed: Another process holds the lease now, or nobody does.
    """
    if store.guard is None:
        return
    archive_url, holder = store.guard
    if _holder(type(store)(archive_url)) != holder:
        msg = f"archive {archive_url}: this crawl does not hold it any more; another one has taken over, or it ended"
        raise WorkFailed(msg)


def _acquire(archive: BucketStore, holder: str, lease_s: float, renew_s: float) -> str:
    """Write the first version of our lease; returns its tag."""
    if (tag := archive.put_new(LEASE_NAME, _body(holder))) is not None:
        return tag
    found = archive.version(LEASE_NAME)
    if found is None:  # it was given back at this very moment
        return _acquire(archive, holder, lease_s, renew_s)
    age_s = _now_s(archive, holder) - found.modified_at.timestamp()
    if age_s < lease_s:
        _log.warning("archive %s: somebody wrote to it %.0f s ago; seeing whether it goes on", archive.url, age_s)
    end_s = time.monotonic() + lease_s - age_s
    while (left_s := end_s - time.monotonic()) > 0:
        time.sleep(min(left_s, renew_s / 4))
        now = archive.version(LEASE_NAME)
        if now is None:
            return _acquire(archive, holder, lease_s, renew_s)
        if now.tag != found.tag:
            raise _refusal(archive)
    if (tag := archive.put_over(LEASE_NAME, _body(holder), found.tag)) is None:
        raise _refusal(archive)
    return tag


def _refusal(archive: BucketStore) -> WorkFailed:
    who = _holder(archive) or "somebody"
    msg = f"archive {archive.url}: another crawl is writing to it ({who.rpartition(' ')[0] or who}); wait for it"
    return WorkFailed(msg)


def _renew(archive: BucketStore, holder: str, tag: str, ended: threading.Event, renew_s: float) -> None:
    """Keep the lease young until the end, or until another one has it: workers look before they commit."""
    while not ended.wait(renew_s):
        try:
            newer = archive.put_over(LEASE_NAME, _body(holder), tag)
        except WorkFailed:
            _log.warning("archive %s: the lease could not be renewed; trying again", archive.url, exc_info=True)
            continue
        if newer is None:
            _log.warning("archive %s: another crawl has taken it over", archive.url)
            return
        tag = newer


def _body(holder: str) -> bytes:
    """Another text each time, so that each renewal has another tag."""
    return json.dumps({"holder": holder, "renewal": uuid.uuid4().hex}).encode()


def _holder(archive: BucketStore) -> str | None:
    if archive.version(LEASE_NAME) is None:
        return None
    try:
        return str(json.loads(archive.read(LEASE_NAME))["holder"])
    except (ValueError, KeyError, TypeError):
        return "an unreadable lease.json"


def _now_s(archive: BucketStore, holder: str) -> float:
    """Read the bucket's clock: whatever is written now is as old as now."""
    probe = f"lease-{holder.rpartition(' ')[2]}.json"
    archive.put(probe, b"{}")
    found = archive.version(probe)
    archive.delete(probe)
    return found.modified_at.timestamp() if found else time.time()
