"""A crawl's progress is one line, a page for Prometheus and rows in the archive, and all three say the same."""

from __future__ import annotations

import io
import urllib.request
from typing import TYPE_CHECKING

import polars as pl
import pytest

from crawler import monitor
from crawler.errors import UnusableInput
from crawler.monitor import HISTORY_FOLDER, HISTORY_SCHEMA, Monitor, Snapshot, Tally, metrics_served, unseen
from crawler.storage import open_store

if TYPE_CHECKING:
    from pathlib import Path

SOME = Tally(ok=900, failed={"not_found": 70, "timeout": 30}, size_bytes=9_000_000)


def test_tallies_add_up() -> None:
    """Reasons by how often they occurred."""
    total = Tally.total([SOME, Tally(ok=1, failed={"timeout": 50}), Tally()])
    assert (total.ok, total.done, total.size_bytes) == (901, 1051, 9_000_000)
    assert list(total.failed.items()) == [("timeout", 80), ("not_found", 70)]


def test_the_line_says_what_a_person_wants_to_know(tmp_path: Path) -> None:
    """Speed, outcomes by reason, the limit of each host, and the time left."""
    seen: list[Snapshot] = []
    watch = Monitor(100_000, open_store(tmp_path), seen.append)
    watch._window[0] = (watch._started_s - 10, 0, 0)
    snapshot = watch.update(SOME, {"image.tmdb.org": 20.0})
    assert seen == [snapshot]
    assert snapshot.left == 99_000
    line = str(snapshot)
    assert "ok 900, not found 70, timeout 30, limit image.tmdb.org 20/s, " in line
    assert line.endswith(" min left")
    assert "\n" not in line


def test_what_is_left_may_be_unknown(tmp_path: Path) -> None:
    """A refresh does not know beforehand what it will ask for; no limit is no figure."""
    snapshot = Monitor(None, open_store(tmp_path), unseen).update(SOME, {"host": float("inf")})
    assert (snapshot.left, snapshot.left_s) == (None, None)
    assert "left" not in str(snapshot)
    assert "limit" not in str(snapshot)


def test_the_history_is_in_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row now and then and one at the end, with failures by reason and limits by host."""
    monkeypatch.setattr(monitor, "EVERY_S", 0.0)
    watch = Monitor(2_000, open_store(tmp_path), unseen)
    watch.update(Tally(ok=5), {"host": 20.0})
    watch.finish(SOME, {"host": 10.0})
    folder = open_store(tmp_path).within(HISTORY_FOLDER)
    (name,) = folder.names()
    rows = pl.read_parquet(io.BytesIO(folder.read(name)))
    assert dict(rows.schema) == HISTORY_SCHEMA
    assert rows["ok"].to_list()[0] == 5
    last = rows.row(-1, named=True)
    assert (last["ok"], last["left"], last["size_bytes"]) == (900, 1000, 9_000_000)
    assert last["failed"] == [{"reason": "not_found", "posters": 70}, {"reason": "timeout", "posters": 30}]
    assert last["rates"] == [{"host": "host", "per_s": 10.0}]


def test_prometheus_reads_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loopback address; nothing is said before there is something to say, and the port is free again after."""
    ports: list[int] = []
    start = monitor.prometheus.start_http_server

    def noted(*given: object) -> object:
        server, thread = start(*given)
        ports.append(server.server_port)
        return server, thread

    monkeypatch.setattr(monitor.prometheus, "start_http_server", noted)
    with metrics_served(0) as observe:
        url = f"http://127.0.0.1:{ports[0]}/metrics"
        with urllib.request.urlopen(url) as answer:
            assert b"keyart" not in answer.read()
        Monitor(2_000, open_store(tmp_path), observe).update(SOME, {"host": 20.0})
        with urllib.request.urlopen(url) as answer:
            lines = answer.read().decode().splitlines()
        with pytest.raises(UnusableInput, match=f"--metrics-port {ports[0]}: cannot be listened on"):
            metrics_served(ports[0]).__enter__()
    assert 'keyart_crawl_posters{outcome="ok"} 900.0' in lines
    assert 'keyart_crawl_posters{outcome="not_found"} 70.0' in lines
    assert 'keyart_crawl_limit{host="host"} 20.0' in lines
    assert "keyart_crawl_posters_left 1000.0" in lines
