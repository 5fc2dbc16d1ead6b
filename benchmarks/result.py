"""Findings with what they were measured on -> JSON and Parquet, and back."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from benchmarks.findings import Findings, Role, Row, Table, figures
from benchmarks.machine import Machine
from benchmarks.timing import Lap
from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A question that was answered."""

    question: str
    title: str
    why: str
    command: str
    date: str
    elapsed_s: float
    rounds: int
    quick: bool
    load_before: float
    """Processes that wanted to run, on average over the minute before."""
    load_after: float
    machine: Machine
    findings: Findings


def write_data(result: Result, folder: Path) -> list[Path]:
    """Write ``{question}.json`` and ``.parquet`` into ``folder``.

    The JSON holds every lap, and under ``figures`` what a table says, as ``figures[place][name]``.
    """
    places: dict[str, dict[str, Any]] = {}
    for row in result.findings.rows:
        places.setdefault(row.place, {})[row.name] = asdict(figures(row, result.findings.rows)) | dict(row.extra)
    whole = {"format": FORMAT} | asdict(result) | {"figures": places}
    data, table = folder / f"{result.question}.json", folder / f"{result.question}.parquet"
    data.write_text(json.dumps(whole, indent=1) + "\n")
    flat(result).write_parquet(table)
    return [data, table]


def flat(result: Result) -> pl.DataFrame:
    """Lay rows out as a table, a line a contender and cell, for any tool that reads Parquet."""
    lines: list[dict[str, Any]] = []
    for row in result.findings.rows:
        found = figures(row, result.findings.rows)
        share, ratio = found.roof_share, found.ours_is_faster
        lines.append(
            {
                "question": result.question,
                "machine": result.machine.slug,
                "date": result.date,
                "place": row.place,
                "cell": json.dumps(dict(row.cell)),
                "name": row.name,
                "role": str(row.role),
                "unit": row.unit,
                "units": row.units,
                "rounds": len(row.laps),
                "units_per_s": found.units_per_s,
                "units_per_cpu_s": found.units_per_cpu_s,
                "peak_bytes": found.peak_bytes,
                "spread": found.spread,
                "roof_share": share.value if share else None,
                "roof_share_low": share.low if share else None,
                "roof_share_high": share.high if share else None,
                "ours_is_faster": ratio.value if ratio else None,
                "ours_is_faster_low": ratio.low if ratio else None,
                "ours_is_faster_high": ratio.high if ratio else None,
                "wall_s": [lap.wall_s for lap in row.laps],
                "cpu_s": [lap.cpu_s for lap in row.laps],
                "extra": json.dumps(dict(row.extra)),
            }
        )
    return pl.DataFrame(lines, infer_schema_length=None)


def read_result(path: Path) -> Result:
    """Read what ``write_data`` wrote.

    Raises:
        UnusableInput: It is not such a file.
    """
    try:
        whole: dict[str, Any] = json.loads(path.read_text())
        if whole.pop("format", None) != FORMAT:
            msg = f"result {path}: expected a file of `keyart bench`, format {FORMAT}"
            raise UnusableInput(msg)
        del whole["figures"]
        found: dict[str, Any] = whole.pop("findings")
        rows = tuple(_row(row) for row in found.pop("rows"))
        tables = tuple(
            Table(title=one["title"], columns=tuple(one["columns"]), rows=tuple(map(tuple, one["rows"])))
            for one in found.pop("tables")
        )
        verdict = tuple(found.pop("verdict"))
        machine: dict[str, Any] = whole.pop("machine")
        machine["flags"] = tuple(machine["flags"])
        return Result(
            **whole,
            machine=Machine(**machine),
            findings=Findings(**found, rows=rows, tables=tables, verdict=verdict),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"result {path}: cannot be read ({error}); expected a file of `keyart bench`"
        raise UnusableInput(msg) from error


def _row(found: dict[str, Any]) -> Row:
    role, laps = Role(found.pop("role")), tuple(Lap(**lap) for lap in found.pop("laps"))
    return Row(**found, role=role, laps=laps)


def read_results(folder: Path) -> dict[str, Result]:
    """Read every result of a folder, by question; files of other kinds are passed over."""
    found: dict[str, Result] = {}
    for path in sorted(folder.glob("*.json")):
        if '"format"' in path.read_text()[:40]:
            result = read_result(path)
            found[result.question] = result
    return found


def median_rate(row: Row) -> float:
    """Units per second of wall time."""
    return row.units / statistics.median(lap.wall_s for lap in row.laps)
