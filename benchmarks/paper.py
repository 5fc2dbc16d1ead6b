"""Results of a machine -> what 45 thousand, 10 million and a billion posters would take, on paper: docs/scaling.md.

Everything is worked out from figures in docs/results; nothing is typed in but the sizes, the number of machines and the
rate that a host allows. ``python -m benchmarks.paper docs/results/MACHINE`` complains where docs/scaling.md says
something else, ``--write`` mends it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.result import median_rate, read_results
from crawler.crawl import CrawlOptions
from crawler.errors import KeyartError, UnusableInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.findings import Row, Table
    from benchmarks.result import Result

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"
BEGIN: Final = "<!-- paper: written by benchmarks/paper.py -->"
END: Final = "<!-- /paper -->"
SHARD: Final = CrawlOptions().shard_size
POLITE: Final = CrawlOptions().rate
"""Requests a second that a host is asked for, unless its owner agreed to more."""
NEEDED: Final = ("crawling", "scoring", "scaling", "duplicates")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """An archive, and the machines that one would give it."""

    posters: int
    machines: int
    """Of the kind that was measured."""


SIZES: Final = (
    Size(posters=45_466, machines=1),
    Size(posters=10_000_000, machines=16),
    Size(posters=1_000_000_000, machines=256),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What was measured, and all that the paper is worked out from."""

    crawl_per_cpu_s: float
    """Posters decoded, hashed and committed for each CPU second of the crawler."""
    score_per_s: float
    """Posters scored by one machine, the fastest precision."""
    precision: str
    cores: int
    tar_bytes: float
    sidecar_bytes: float
    prediction_bytes: float
    sharing_s: float
    """Seconds that each further worker adds to a lap of crawling; never below 0."""
    shard_extra_s: float
    """Seconds that a shard takes a worker beyond the wait for the host."""
    efficiency: float
    """Of eight workers against one, the worse of crawl and score."""
    pairs_per_s: float
    """Pairs of hashes compared in a second by one thread."""


def constants(results: Mapping[str, Result]) -> Constants:
    """Take the figures out of the results.

    Raises:
        UnusableInput: A result is missing, or lacks a row.
    """
    if missing := [name for name in NEEDED if name not in results]:
        msg = f"results: no {missing[0]}.json; expected {', '.join(NEEDED)}: run `keyart bench {missing[0]}` first"
        raise UnusableInput(msg)
    crawl = _row(results["crawling"], "keyart", scheme="http")
    scored = max((row for row in results["scoring"].findings.rows if row.role == "ours"), key=median_rate)
    search = results["duplicates"].findings.rows
    whole = max((row for row in search if row.role == "ours"), key=lambda row: _count(row.cell["hashes"]))
    count = _count(whole.cell["hashes"])
    disk = results["scoring"].findings.tables[0].rows[0]
    costs = _costs(results["scaling"].findings.tables)
    used_s = sorted(lap.cpu_s for lap in crawl.laps)[len(crawl.laps) // 2]
    return Constants(
        crawl_per_cpu_s=crawl.units / used_s,
        score_per_s=median_rate(scored),
        precision=scored.cell["precision"],
        cores=results["scoring"].machine.cores,
        tar_bytes=float(disk[0]),
        sidecar_bytes=float(disk[1]),
        prediction_bytes=float(disk[2]),
        sharing_s=max(0.0, costs["each further worker"]),
        shard_extra_s=max(0.0, costs["a shard"] - costs["of it the wait"]),
        efficiency=min(1.0, *(_efficiency(results["scaling"], work) for work in ("crawl", "score"))),
        pairs_per_s=count * (count - 1) / 2 * median_rate(whole) / count,
    )


def paper(found: Constants, sizes: tuple[Size, ...] = SIZES) -> str:
    """Work it out, as a Markdown table with a line for everything that may be the limit."""
    lines = ["| | " + " | ".join(f"{size.posters:,} posters" for size in sizes) + " |"]
    lines.append("|---|" + "---:|" * len(sizes))

    def add(name: str, values: list[str]) -> None:
        lines.append(f"| {name} | {' | '.join(values)} |")

    posters = [size.posters for size in sizes]
    machines = [size.machines for size in sizes]
    useful = [1.0 if count == 1 else found.efficiency for count in machines]
    crawl_s = [
        n / (found.crawl_per_cpu_s * found.cores * m * e) for n, m, e in zip(posters, machines, useful, strict=True)
    ]
    score_s = [n / (found.score_per_s * m * e) for n, m, e in zip(posters, machines, useful, strict=True)]
    add("requests, without retries", [f"{n:,}" for n in posters])
    add(f"**politeness**: one host at {POLITE:g} requests/s", [duration(n / POLITE) for n in posters])
    add(f"machines of {found.cores} cores", [f"{m:,}" for m in machines])
    add("crawl, if no host limited it", [duration(value) for value in crawl_s])
    add(
        "rate that hosts would have to allow for that",
        [f"{n / s:,.0f}/s" for n, s in zip(posters, crawl_s, strict=True)],
    )
    add(
        "network in, at that rate",
        [f"{n * found.tar_bytes * 8 / s / 1e6:,.0f} Mbit/s" for n, s in zip(posters, crawl_s, strict=True)],
    )
    add(f"score, {found.precision}", [duration(value) for value in score_s])
    add(
        "machine hours, crawl and score",
        [f"{(c + s) * m / 3600:,.1f}" for c, s, m in zip(crawl_s, score_s, machines, strict=True)],
    )
    add(f"shards of {SHARD:,}", [f"{-(-n // SHARD):,}" for n in posters])
    add("archive", [weight(n * (found.tar_bytes + found.sidecar_bytes)) for n in posters])
    add("predictions", [weight(n * found.prediction_bytes) for n in posters])
    add(
        "near-identical posters, all pairs, one thread",
        [duration(n * (n - 1) / 2 / found.pairs_per_s) for n in posters],
    )
    return "\n".join(lines)


def sources(found: Constants, folder: str) -> str:
    """List the constants, and where each is from."""
    entries = (
        (f"{found.crawl_per_cpu_s:,.0f} posters a CPU second", "decoded, hashed and committed, over http", "crawling"),
        (
            f"{found.score_per_s:,.0f} posters/s",
            f"in {found.precision}, from shards to Parquet, one machine",
            "scoring",
        ),
        (f"{found.tar_bytes:,.0f} + {found.sidecar_bytes:,.0f} bytes", "tar and sidecar of a poster", "scoring"),
        (f"{found.prediction_bytes:,.1f} bytes", "a prediction", "scoring"),
        (f"{found.efficiency:.0%}", "efficiency of eight workers, the worse of crawl and score", "scaling"),
        (f"{1000 * found.shard_extra_s:,.0f} ms", "a shard, beyond the wait for its host", "scaling"),
        (f"{1000 * found.sharing_s:,.1f} ms", "each further worker, a lap of crawling", "scaling"),
        (f"{found.pairs_per_s / 1e9:,.2f} thousand million pairs/s", "hashes compared by one thread", "duplicates"),
    )
    lines = ["| constant | what | measured in |", "|---|---|---|"]
    lines += [f"| {value} | {what} | [{name}](results/{folder}/{name}.md) |" for value, what, name in entries]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Say it in the unit that a person would use.

    Example:
        >>> [duration(value) for value in (12, 600, 7200, 500_000, 1e9)]
        ['12 s', '10 min', '2.0 h', '5.8 days', '31.7 years']
    """
    for limit, unit_s, unit, digits in (
        (100, 1, "s", 0),
        (6000, 60, "min", 0),
        (172_800, 3600, "h", 1),
        (6e7, 86_400, "days", 1),
    ):
        if seconds < limit:
            return f"{seconds / unit_s:.{digits}f} {unit}"
    return f"{seconds / 31_557_600:,.1f} years"


def weight(size_bytes: float) -> str:
    """Say it in the unit that a person would use.

    Example:
        >>> weight(639_000_000)
        '639 MB'
    """
    for unit, one in (("TB", 1e12), ("GB", 1e9)):
        if size_bytes >= one:
            return f"{size_bytes / one:.1f} {unit}"
    return f"{size_bytes / 1e6:.0f} MB"


def filled(page: str, results: Mapping[str, Result], folder: str) -> str:
    """Replace what stands between the marks of the page.

    Raises:
        UnusableInput: The marks or a result are missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"page {PAGE.name}: expected {BEGIN} and {END}"
        raise UnusableInput(msg)
    found = constants(results)
    first = next(iter(results.values()))
    said = f"Measured on {first.machine}."
    return f"{before}{BEGIN}\n{said}\n\n{paper(found)}\n\n{sources(found, folder)}\n{END}{after}"


def _row(result: Result, name: str, **cell: str) -> Row:
    for row in result.findings.rows:
        if row.name == name and cell.items() <= dict(row.cell).items():
            return row
    msg = f"result {result.question}: no row {name} of {cell}; run `keyart bench {result.question}` again"
    raise UnusableInput(msg)


def _costs(tables: tuple[Table, ...]) -> dict[str, float]:
    table = tables[0]
    row = next(row for row in table.rows if row[0] == "crawl")
    return {column: float(value) for column, value in zip(table.columns[1:], row[1:], strict=True)}


def _efficiency(result: Result, work: str) -> float:
    rows = [row for row in result.findings.rows if row.cell["work"] == work and "efficiency" in row.extra]
    return float(str(rows[-1].extra["efficiency"]).rstrip("%")) / 100


def _count(words: str) -> int:
    return int(words.partition(" ")[0].replace(",", ""))


def main() -> int:
    """Check or mend the page."""
    folder = Path(sys.argv[1])
    page = PAGE.read_text()
    try:
        right = filled(page, read_results(folder), folder.name)
    except KeyartError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    if "--write" in sys.argv:
        PAGE.write_text(right)
    elif right != page:
        sys.stderr.write(
            f"{PAGE.name}: not what {folder} says; `python -m benchmarks.paper {folder} --write` mends it\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
