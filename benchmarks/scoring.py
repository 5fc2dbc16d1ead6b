"""How many posters a second go from JPEG shards to committed Parquet, beside the engine alone and others' pipelines?

Method: every contender scores the same shards in a process of its own. The roof is the engine on batches that lie
prepared in memory, one row for each precision. Ours is what one Ray worker does with a shard: map, decode, prepare,
infer, write, sync and rename; the start of Ray, once a call, is not in it. The plain script does the same with Pillow,
torchvision and PyTorch, as written and with the two lines that make bfloat16 of it; Ray Data does it with an actor that
holds the network. The slow ones score fewer posters in a lap. Rows that stand in several tables are the same laps.

Why it comes out so: scoring is bound by the engine's arithmetic, so the number format decides: int8 does four times the
multiplications of float32 in an instruction. Decoding and preparing a w185 poster takes about a tenth of an int8
ResNet18 at 224, on the same cores, so it cannot be hidden, only be made small; what is hidden is everything that waits.

Command: ``keyart bench scoring OUT --posters FOLDER``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from benchmarks.findings import Findings, Role, Row, Table, disturbance, rows_of
from benchmarks.laps import Start, together
from benchmarks.timing import faster
from benchmarks.workbench import ARCHITECTURE, Workbench, set_up
from crawler.shards import SHARD_FOLDER, TAR_SUFFIX
from serving.engine import Precision, load_card
from serving.predictor import BATCH
from training.precision import cpu_computes_bf16

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.findings import Options
    from benchmarks.timing import Series

CATALOG: Final = 45_466
"""Posters of the catalogue that the project is about."""
POSTERS: Final = 2000
PLAIN: Final = "plain script"
PLAIN_BF16: Final = "plain script in bf16"
RAY: Final = "Ray Data + torch"
"""In bf16 where the processor multiplies in it."""
LAPS: Final = {Precision.INT8: 2000, Precision.BF16: 1000, Precision.FP32: 1000}
"""Posters that ours scores in a lap: whole shards of 1,000."""
ROOF_LAPS: Final = {Precision.INT8: 1600, Precision.BF16: 800, Precision.FP32: 400}
PEER_LAPS: Final = {PLAIN: 200, PLAIN_BF16: 400, RAY: 600}
PEERS: Final = {
    Precision.INT8: (PLAIN, PLAIN_BF16, RAY),
    Precision.BF16: (PLAIN_BF16, RAY),
    Precision.FP32: (PLAIN,),
}
"""Beside which of ours a peer stands; torch has no int8 for a ResNet on a CPU without another export."""
DISK: Final = "What a poster takes on disk, bytes"
GOALS: Final = {"roof": 0.9, "plain": 6.0, "seconds": 95.0, "drop": 0.003}
"""What is wanted of int8 on two cores."""


def measure(options: Options) -> Findings:
    """Set all pipelines beside the engine alone.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A contender stopped in the middle, or an engine cannot be built.
    """
    bench = set_up(options, POSTERS)
    bench.fit_head()
    precisions = _precisions(options)
    bench.export_models(precisions)
    starts, units = _starts(bench, precisions, options)
    with together(starts, local=options.quick) as contenders:
        series = options.take_turns(contenders, units)
        versions = {key: value for one in contenders.values() for key, value in one.versions.items()}
    disk = _disk(bench, options.scratch / f"predictions-{precisions[0]}")
    return Findings(
        rows=_rows(series, precisions),
        inputs=bench.inputs,
        method=(
            f"{ARCHITECTURE} at {bench.size}, {options.threads} threads, batches of {BATCH} in ours; from shards to "
            "Parquet that is synced and renamed. CPU time and memory are those of all processes of a contender."
        ),
        verdict=tuple(_verdict(series, bench, precisions)),
        missing=_missing(precisions, options),
        disturbed=disturbance(series, "scoring"),
        repeated=series.repeated,
        versions=versions,
        tables=(disk, *((_quality(bench, precisions),) if bench.labelled else ())),
    )


def ours(precision: Precision) -> str:
    """Name our row."""
    return f"keyart in {precision}"


def roof(precision: Precision) -> str:
    """Name the row of the engine alone."""
    return f"the engine alone in {precision}"


def _precisions(options: Options) -> tuple[Precision, ...]:
    if options.quick:
        return (Precision.FP32,)
    computed = {Precision.BF16: cpu_computes_bf16()}
    return tuple(precision for precision in LAPS if computed.get(precision, True))


def _starts(
    bench: Workbench, precisions: tuple[Precision, ...], options: Options
) -> tuple[dict[str, Start], dict[str, int]]:
    starts: dict[str, Start] = {}
    units: dict[str, int] = {}
    for precision in precisions:
        chunks = bench.chunks(LAPS[precision])
        job: dict[str, Any] = {"model": str(bench.model(precision)), "threads": options.threads}
        units[ours(precision)] = min(bench.posters, 1000 * len(chunks))
        units[roof(precision)] = BATCH * (min(ROOF_LAPS[precision], bench.posters) // BATCH)
        places = [[str(chunk.folder), chunk.name] for chunk in chunks]
        out = str(options.scratch / f"predictions-{precision}")
        starts[ours(precision)] = Start(module="scoring_keyart", job={**job, "chunks": places, "out": out})
        starts[roof(precision)] = Start(module="scoring_engine", job={**job, "posters": units[roof(precision)]})
    first = bench.chunks(1)
    job = {
        "checkpoint": str(bench.run / "checkpoints" / "best"),
        "threads": options.threads,
        "chunks": [[str(chunk.folder), chunk.name] for chunk in first],
    }
    for name in _peers(precisions, options):
        units[name] = min(PEER_LAPS[name], bench.posters)
        out = options.scratch / f"{name.replace(' ', '-')}.out"
        rest = {"posters": units[name], "out": str(out), "autocast": name != PLAIN and cpu_computes_bf16()}
        module = "scoring_plain" if name in {PLAIN, PLAIN_BF16} else "scoring_ray"
        starts[name] = Start(module=module, job={**job, **rest})
    return starts, units


def _peers(precisions: tuple[Precision, ...], options: Options) -> list[str]:
    if options.quick:
        return [PLAIN]
    return [name for name in PEER_LAPS if Precision.BF16 in precisions or name != PLAIN_BF16]


def _rows(series: Series, precisions: tuple[Precision, ...]) -> tuple[Row, ...]:
    """Give each precision a table: ours, its roof, and the peers that it is fair to set beside it."""
    rows: list[Row] = []
    for precision in precisions:
        shown = (ours(precision), roof(precision), *PEERS[precision])
        roles = {ours(precision): Role.OURS, roof(precision): Role.ROOF}
        catalog: dict[str, dict[str, float | str]] = {
            name: {"45,466 posters, s": CATALOG / found.units_per_s} for name, found in series.measurements.items()
        }
        every = rows_of(series, {"posters": "w185", "precision": precision}, roles, extra=catalog)
        rows += [row for row in every if row.name in shown]
    return tuple(rows)


def _verdict(series: Series, bench: Workbench, precisions: tuple[Precision, ...]) -> list[str]:
    found, best = series.measurements, precisions[0]
    own = found[ours(best)]
    share, seconds = faster(own, found[roof(best)]), CATALOG / own.units_per_s
    first = (
        f"In {best}, {own.units_per_s:,.0f} posters/s reach committed Parquet: {share.value:.1%} of the engine alone "
        f"({share.low:.1%} to {share.high:.1%}; goal {GOALS['roof']:.0%}). 45,466 posters take {seconds:,.0f} s at "
        "that "
        f"rate (goal {GOALS['seconds']:.0f} s), without the start of Ray."
    )
    sentences = [first]
    sentences += [
        f"That is {faster(own, found[name])} times {name}"
        + (f" (goal {GOALS['plain']:.0f})." if name == PLAIN else ".")
        for name in PEERS[best]
        if name in found
    ]
    if bench.labelled:
        parity = load_card(bench.model(best)).parity
        drop = parity["accuracy_drop"]
        sentences.append(
            f"{best} loses {drop * 100:.2f} points of top-1 against float32 torch on {parity['posters']:,} held-out "
            f"posters (goal at most {GOALS['drop'] * 100:.1f}; one poster is {100 / parity['posters']:.2f} points)."
        )
    return sentences


def _disk(bench: Workbench, predictions: Path) -> Table:
    """Weigh what a poster takes on disk, in shards and in predictions."""
    folder = bench.archive / SHARD_FOLDER
    tars, sidecars = (sum(path.stat().st_size for path in folder.glob(f"*{one}")) for one in (TAR_SUFFIX, ".parquet"))
    files = list(predictions.glob("*.parquet"))
    scored = pl.scan_parquet(files).select(pl.len()).collect().item()
    of_predictions = sum(path.stat().st_size for path in files) / scored
    return Table(
        title=DISK,
        columns=("tar", "sidecar", "prediction"),
        rows=((f"{tars / bench.posters:.0f}", f"{sidecars / bench.posters:.0f}", f"{of_predictions:.1f}"),),
    )


def _quality(bench: Workbench, precisions: tuple[Precision, ...]) -> Table:
    rows: list[tuple[str, ...]] = []
    for precision in precisions:
        parity = load_card(bench.model(precision)).parity
        figures = (parity["engine_accuracy"], parity["reference_accuracy"], parity["top1_agreement"])
        rows.append((precision, f"{parity['posters']:,}", *(f"{figure:.1%}" for figure in figures)))
    return Table(
        title="What the precision costs: a head fitted to comedy against horror",
        columns=("engine", "held-out posters", "top-1", "top-1 of torch in fp32", "same first label"),
        rows=tuple(rows),
    )


def _missing(precisions: tuple[Precision, ...], options: Options) -> Mapping[str, str]:
    reason = "left out of a quick run" if options.quick else "this processor does not multiply in it"
    missing = {ours(precision): reason for precision in LAPS if precision not in precisions}
    done = _peers(precisions, options)
    missing |= {name: reason for name in PEER_LAPS if name not in done}
    return missing | {
        "int8 in the plain script": "PyTorch needs another export for it; what it takes would be another engine"
    }
