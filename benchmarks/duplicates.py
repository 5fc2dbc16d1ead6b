"""How long does it take to find the posters of a whole catalogue that look the same?

Method: 45,466 difference hashes of 64 bits, those of real posters, of their mirror images and of both turned upside
down, so that the hashes are spread as pictures spread them; each contender groups those within 4 bits of each other. A
lap is the whole search, of all hashes for ours and NumPy, of 5,000 for imagededup beside them. All must find the same
groups, or the run fails. imagededup works on the same hashes (``encoding_map``), so its own reading and hashing of
pictures is not in it.

Why it comes out so: a search among n hashes compares n²/2 pairs, a billion here. Ours compares eight pairs with one
AVX-512 instruction and looks again only at a block that holds a neighbour. imagededup's compiled search compares one
pair at a time, and builds the list of all names and numbers anew, in Python, for each of n queries. NumPy's
``bitwise_count`` does the same arithmetic as ours, but writes a byte for every pair and reads it again.

Command: ``keyart bench duplicates OUT --posters FOLDER``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.environments import interpreter
from benchmarks.findings import Findings, Role, Row, disturbance, rows_of
from benchmarks.laps import Start, said, together
from benchmarks.posters import find_posters
from benchmarks.timing import faster
from crawler.duplicates import POSTER_DISTANCE
from crawler.errors import WorkFailed
from crawler.records import Reason
from crawler.verify import inspect

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.findings import Options
    from benchmarks.laps import Laps
    from benchmarks.timing import Series

CATALOG: Final = 45_466
PART: Final = 5_000
"""Hashes that all contenders search; imagededup takes ten minutes for all of them."""
QUICK: Final = 500
OURS: Final = "keyart"
NUMPY: Final = "NumPy's bitwise_count"
BRUTE: Final = "imagededup, compiled brute force"
TREE: Final = "imagededup, BK-tree"
GOAL: Final = 100.0
BIT_REVERSED: Final = np.array([int(f"{value:08b}"[::-1], 2) for value in range(256)], np.uint8)
"""Byte -> the same bits from the other end."""


def measure(options: Options) -> Findings:
    """Set the searches side by side: all of them on a part, and those that can on the whole.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A contender stopped in the middle, or finds other groups than the rest.
    """
    hashes, inputs = _hashes(options)
    part = len(hashes) if options.quick else PART
    small, missing = _series(options, hashes[:: len(hashes) // part][:part], (OURS, NUMPY, BRUTE))
    series, versions = [small[0]], dict(small[1])
    if not options.quick:
        whole, _ = _series(options, hashes, (OURS, NUMPY))
        series.append(whole[0])
    rows: list[Row] = []
    for one in series:
        count = one.measurements[NUMPY].units
        extra: dict[str, dict[str, float | str]] = {
            name: {"seconds for all": count / found.units_per_s} for name, found in one.measurements.items()
        }
        rows += rows_of(one, {"hashes": f"{count:,} hashes"}, {OURS: Role.OURS}, extra=extra)
    return Findings(
        rows=tuple(rows),
        inputs=inputs,
        method=(
            f"Groups within {POSTER_DISTANCE} of 64 bits, directly or over others; ours uses one thread, the others "
            f"{options.threads}. Ours searches several times in a lap, so that a lap can be timed."
        ),
        verdict=tuple(_verdict(series, len(hashes))),
        missing=missing,
        disturbed={key: value for one in series for key, value in disturbance(one, "duplicates").items()},
        repeated=sum(one.repeated for one in series),
        versions=versions,
    )


def _verdict(series: list[Series], every: int) -> list[str]:
    part, whole = series[0].measurements, series[-1].measurements
    own = whole[OURS]
    first = (
        f"keyart groups {whole[NUMPY].units:,} posters in {whole[NUMPY].units / own.units_per_s:.2f} s on one thread, "
        f"{faster(own, whole[NUMPY])} times as fast as {NUMPY}. All contenders find the same groups."
    )
    sentences = [first]
    if BRUTE in part:
        count, seconds = part[BRUTE].units, part[BRUTE].units / part[BRUTE].units_per_s
        sentences.append(
            f"On {count:,} posters it is {faster(part[OURS], part[BRUTE])} times as fast as {BRUTE} (goal "
            f"{GOAL:.0f}), which "
            f"takes {seconds:.1f} s for them; as its work grows with the square, {every:,} would take it about "
            f"{seconds * (every / count) ** 2 / 60:.0f} minutes (not measured)."
        )
    return sentences


def _series(
    options: Options, hashes: NDArray[np.uint64], names: tuple[str, ...]
) -> tuple[tuple[Series, dict[str, str]], dict[str, str]]:
    """Let those of ``names`` that can run search: what they took, their versions, and who is missing."""
    np.save(options.scratch / f"hashes-{len(hashes)}.npy", hashes)
    starts, missing = _starts(options, len(hashes))
    starts = {name: start for name, start in starts.items() if name in names}
    with together(starts, local=options.quick) as contenders:
        units = {name: len(hashes) * int(starts[name].job["times"]) for name in contenders}
        series = options.take_turns(contenders, units)
        _check_agreement(contenders)
        versions = {key: value for one in contenders.values() for key, value in one.versions.items()}
    return (series, versions), missing


def _hashes(options: Options) -> tuple[NDArray[np.uint64], str]:
    """Hash real posters, and turn the hashes as turning the pictures would, until there are enough."""
    wanted = QUICK if options.quick else CATALOG
    source = find_posters(options.posters, 64 if options.quick else wanted, options.cache)
    with ThreadPoolExecutor(options.threads) as pool:
        found = list(pool.map(_hash, source.paths))
    own = np.array([value for value in found if value is not None], np.uint64)
    turned = np.concatenate([own, _mirrored(own), own.byteswap(), _mirrored(own).byteswap()])
    chance = np.random.default_rng(0)
    more = chance.integers(0, 2**64, max(0, wanted - len(turned)), dtype=np.uint64)
    inputs = f"{wanted:,} hashes: of {source}, of their mirror images, and of both upside down"
    return np.concatenate([turned, more])[:wanted], inputs + (f"; {len(more):,} are random" if len(more) else "")


def _hash(path: Path) -> int | None:
    inspected = inspect(path.read_bytes())
    return None if isinstance(inspected, Reason) else inspected.dhash


def _mirrored(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash of the mirror image: a row's differences from the other end, with the other sign."""
    return ~BIT_REVERSED[hashes.view(np.uint8)].view(np.uint64)


def _starts(options: Options, count: int) -> tuple[dict[str, Start], dict[str, str]]:
    job = {
        "hashes": str(options.scratch / f"hashes-{count}.npy"),
        "distance": POSTER_DISTANCE,
        "threads": options.threads,
        "search": "brute_force_cython",
        "times": 1,
    }
    times = max(1, round((CATALOG / count) ** 2))  # so that every lap of ours compares about a billion pairs
    starts = {
        OURS: Start(module="duplicates_keyart", job={**job, "times": times}),
        NUMPY: Start(module="duplicates_numpy", job=job),
    }
    missing = {TREE: "its compiled brute force is its own default on Linux, for it is faster"}
    if options.quick:
        return starts, missing | {BRUTE: "left out of a quick run"}
    try:
        python = interpreter("imagededup", options.cache)
    except WorkFailed as error:
        return starts, missing | {BRUTE: str(error)}
    return starts | {BRUTE: Start(module="duplicates_imagededup", job=job, python=python)}, missing


def _check_agreement(contenders: dict[str, Laps]) -> None:
    answers = {name: (said(one, "groups"), said(one, "members")) for name, one in contenders.items()}
    if len(set(answers.values())) > 1:
        words = ", ".join(f"{name} {groups:.0f} groups of {members:.0f}" for name, (groups, members) in answers.items())
        msg = f"benchmark duplicates: contenders disagree ({words}); their times cannot be compared"
        raise WorkFailed(msg)
