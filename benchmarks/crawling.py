"""How many posters a second reach committed shards: keyart, img2dataset, and plain loops that keep a file or nothing?

Method: a keep-alive host on loopback (``peers/poster_host``, about 30 us of CPU per poster) shares this machine's
cores with the crawler. Contenders take shuffled turns; each fills a fresh folder. Timed is from the first request that
arrives at the host until all is stored, so that no contender's own start counts. keyart verifies every poster by a full
decode, hashes it twice and commits shards, because it always does; it is compared with what looks at no poster and with
what does. CPU seconds and memory are of all processes of a contender, the host's left out.

Why it comes out so: img2dataset opens a connection per poster in a thread per request, so https costs it a handshake
each; keyart's connections live through the whole crawl, and one loop, one verifying thread and one writer per worker
share the cores without waiting for each other. What keeps it below the plain loop is the decode (about 165 us
per poster), the tar and the hashes.

Command: ``keyart bench crawling OUT --posters FOLDER``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import polars as pl
import simplejpeg

from benchmarks.crawl_contenders import (
    CONNECTIONS,
    ROOT,
    Crawler,
    Decode,
    Host,
    certificate,
    host,
    img2dataset,
    ours,
    plain_loop,
)
from benchmarks.environments import interpreter, package_version
from benchmarks.findings import Findings, Options, Role, Row, Table, disturbance, figures, rows_of
from benchmarks.machine import installed
from benchmarks.posters import find_posters
from crawler.cluster import connected
from crawler.errors import WorkFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.timing import Contender, Series

OURS: Final = "keyart"
DISCARD: Final = "plain loop, bodies thrown away"
KEEP: Final = "plain loop, a file each"
PEER: Final = "img2dataset, bytes unread"
PEER_RESIZE: Final = "img2dataset, decoded and resized"
DECODE: Final = "decode only"
READ: Final = "bytes to disk"
LOOKED_AT: Final = "decoded and hashed"
POSTERS: Final = 6_000
QUICK_POSTERS: Final = 200
RESIZED: Final = 2_000
"""Posters for a contender that encodes them again."""
HANDSHAKES: Final = 200
"""Posters for a contender that opens a connection for each over https."""
DIFFERENT: Final = 500
"""Posters that the host has; more would measure the page cache."""
MOVIES: Final = 10_000_000
QUICK_MOVIES: Final = 100_000
GOALS: Final = {"http": (3000, PEER, 2.0), "https": (2000, PEER, 30.0)}
"""Posters a second with everything asked, and how many times the peer, as they were set before we began."""
GOAL_LOOKED_AT: Final = 2000


def measure(options: Options) -> Findings:
    """Let the contenders take turns over http and https; then plan a very large crawl.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A contender did not store every poster.
    """
    source = find_posters(options.posters, QUICK_POSTERS if options.quick else DIFFERENT, options.cache)
    folder = options.scratch / "posters"
    folder.mkdir()
    for path in source.paths:
        (folder / path.name).symlink_to(path.resolve())
    python, missing = _peer(options)
    rows: list[Row] = []
    disturbed: dict[str, str] = {}
    repeated = 0
    schemes = {"http": None, "https": certificate(options.scratch) if find_spec("trustme") else None}
    if schemes["https"] is None:
        del schemes["https"]
        missing["https"] = "needs a certificate of its own; pip install trustme"
    with ExitStack() as stack:
        hosts = {scheme: stack.enter_context(host(folder, pem)) for scheme, pem in schemes.items()}
        stack.enter_context(connected(options.threads))
        for scheme, at in hosts.items():
            contenders, units = _contenders(at, scheme, python, source.paths, options)
            series = options.take_turns(contenders, units)
            rows += _rows(series, scheme)
            disturbed |= disturbance(series, scheme)
            repeated += series.repeated
    planning, sentence = _planning(options)
    versions = installed(("keyart", "aiohttp", "uvloop", "ray", "simplejpeg"))
    return Findings(
        rows=tuple(rows),
        inputs=f"{source}, served over and over",
        method=(
            f"{POSTERS:,} posters a lap ({HANDSHAKES} for img2dataset over https), {CONNECTIONS} connections, the host "
            "on the same processors. *Bytes to disk*: nobody has to look at a poster; ours does all the same. *Decoded "
            "and hashed*: what ours always does."
        ),
        verdict=(*_verdict(rows), sentence),
        missing=missing,
        disturbed=disturbed,
        repeated=repeated,
        versions=versions | (package_version(python, "img2dataset") if python else {}),
        tables=(planning,),
    )


def _peer(options: Options) -> tuple[Path | None, dict[str, str]]:
    if options.quick:
        return None, {PEER: "left out of a quick run"}
    try:
        return interpreter("img2dataset", options.cache), {}
    except WorkFailed as error:
        return None, {PEER: str(error)}


def _contenders(
    at: Host, scheme: str, python: Path | None, paths: Sequence[Path], options: Options
) -> tuple[dict[str, Contender], dict[str, int]]:
    posters = QUICK_POSTERS if options.quick else POSTERS
    fetchers = {
        OURS: (posters, ours(options.threads)),
        DISCARD: (posters, plain_loop(options.threads, keep=False)),
        KEEP: (posters, plain_loop(options.threads, keep=True)),
    }
    if python is not None:
        fetchers[PEER] = (posters if scheme == "http" else HANDSHAKES, img2dataset(python, "bytes"))
        fetchers[PEER_RESIZE] = (RESIZED if scheme == "http" else HANDSHAKES, img2dataset(python, "resize"))
    contenders: dict[str, Contender] = {
        name: Crawler(name=name, host=at, posters=count, scratch=options.scratch, fetch=fetch)
        for name, (count, fetch) in fetchers.items()
    }
    bodies = [paths[number % len(paths)].read_bytes() for number in range(posters)]
    pool = ThreadPoolExecutor(options.threads)
    contenders[DECODE] = Decode(work=lambda some: list(pool.map(simplejpeg.decode_jpeg, some)), bodies=bodies)
    return contenders, {name: count for name, (count, _) in fetchers.items()} | {DECODE: len(bodies)}


def _rows(series: Series, scheme: str) -> list[Row]:
    """Divide one series into two cells: what may leave a poster unread, and what may not. Ours stands in both."""
    cells = {READ: (OURS, KEEP, PEER, DISCARD), LOOKED_AT: (OURS, PEER_RESIZE, DECODE)}
    roles = {OURS: Role.OURS, DISCARD: Role.ROOF, DECODE: Role.ROOF}
    return [
        row
        for asked, names in cells.items()
        for row in rows_of(series, {"scheme": scheme, "asked": asked}, roles)
        if row.name in names
    ]


def _verdict(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for scheme, (goal, peer, lead) in GOALS.items():
        found: Mapping[tuple[str, str], Row] = {
            (row.cell["asked"], row.name): row for row in rows if row.cell["scheme"] == scheme
        }
        if (READ, OURS) not in found:
            continue
        shown = figures(found[READ, OURS], rows)
        met = "reached" if shown.units_per_s >= goal else "not reached"
        share = f", {shown.roof_share.value:.0%} of a loop that throws bodies away" if shown.roof_share else ""
        lines.append(f"Goal of {goal:,} posters/s over {scheme} {met}: {shown.units_per_s:,.0f}/s{share}.")
        if (READ, peer) in found and (ratio := figures(found[READ, peer], rows).ours_is_faster):
            met = "reached" if ratio.value >= lead else "not reached"
            lines.append(f"Goal of {lead:g} times {peer} over {scheme} {met}: {ratio}.")
        looked = figures(found[LOOKED_AT, OURS], rows)
        met = "reached" if looked.units_per_s >= GOAL_LOOKED_AT else "not reached"
        of = f", {looked.roof_share.value:.0%} of decoding alone" if looked.roof_share else ""
        lines.append(
            f"Goal of {GOAL_LOOKED_AT:,} posters/s decoded, hashed and committed over {scheme} {met}: "
            f"{looked.units_per_s:,.0f}/s{of}."
        )
    return lines


def _planning(options: Options) -> tuple[Table, str]:
    """Plan a crawl of so many movies in a process of its own."""
    path, movies = options.scratch / "large.parquet", QUICK_MOVIES if options.quick else MOVIES
    ids = pl.LazyFrame({"movie_id": pl.int_range(1, movies + 1, eager=True)})
    paths = pl.format("/{}.jpg", pl.col("movie_id").hash())
    ids.with_columns(poster_path=paths).sink_parquet(path, row_group_size=65_536)
    call = [sys.executable, "-m", "benchmarks.peers.planning", str(path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        msg = f"planning {movies:,} movies: {done.stderr.strip().splitlines()[-1]}"
        raise WorkFailed(msg)
    found, before, peak, seconds = json.loads(done.stdout)
    path.unlink()
    table = Table(
        title="Planning a crawl: memory and time",
        columns=("movies", "seconds", "MiB before", "MiB at most", "MiB for the catalogue"),
        rows=((f"{found:,}", f"{seconds:,.1f}", f"{before:,.0f}", f"{peak:,.0f}", f"{peak - before:,.0f}"),),
    )
    return table, f"Planning {found:,} movies takes {seconds:,.0f} s and {peak - before:,.0f} MiB beyond the libraries."
