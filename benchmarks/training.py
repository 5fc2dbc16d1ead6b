"""How many posters a second does training take in, and how near is that to the network alone?

Method: ResNet18 at 224, batches of 32, two classes, SGD; every contender is a process of its own and a lap is a dozen
steps of a shuffled epoch from its own format: ours from shards, the others from an ImageFolder of the same bytes. The
roof is our own step on one batch that lies in place, in the same precision and memory format. Time spent waiting for
data is measured around the loader's ``next``, in every loop the same way.

Why it comes out so: forward, backward and optimiser take nearly all of a step on a CPU, so what decides is the number
format (bf16 halves the step where the processor multiplies in it) and what the loader takes away from the same cores.
Ours decodes in threads, in a fraction of the CPU time of worker processes with Pillow, and hands over memory instead of
sending it. torchvision's script runs in float32 on a CPU, for its ``--amp`` is for CUDA.

Command: ``keyart bench training OUT --posters FOLDER``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.findings import Findings, Role, disturbance, rows_of
from benchmarks.laps import Start, said, together
from benchmarks.peers import loading_torch
from benchmarks.peers.loader import Poster
from benchmarks.timing import faster
from benchmarks.workbench import ARCHITECTURE, Workbench, set_up
from crawler.records import Reason
from dataloading.dataset import Dataset
from dataloading.source import PosterSource
from training.precision import cpu_computes_bf16

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.findings import Options
    from benchmarks.laps import Laps

OURS: Final = "keyart"
ROOF: Final = "the step alone, one resident batch"
TUNED: Final = "torchvision's loop, tuned as ours"
PLAIN: Final = "torchvision's loop as it comes"
TIMM: Final = "timm's loop"
PRECISE: Final = "keyart, fp32"
RIVALS: Final = (TUNED, TIMM, PLAIN)
QUICK: Final = (OURS, ROOF, TUNED)
"""What a quick run does."""
POSTERS: Final = 480
"""Of which 70 % are trained on."""
BATCH: Final = 32
GOAL: Final = 0.95
"""Share of the roof that is wanted."""


def measure(options: Options) -> Findings:
    """Set all loops beside the step alone.

    Raises:
        UnusableInput: There are too few posters.
        WorkFailed: A contender stopped in the middle.
    """
    bench = set_up(options, POSTERS)
    dataset = Dataset.load(bench.dataset)
    batch = 8 if options.quick else BATCH
    steps = len(dataset.rows("train")) // batch
    starts = _starts(bench, _image_folder(dataset, options.scratch / "images"), options, batch, steps)
    with together(starts, local=options.quick) as contenders:
        units = dict.fromkeys(contenders, batch * steps)
        for name in {OURS, PRECISE} & set(contenders):  # the last step of an epoch is filled up, where others drop it
            units[name] = batch * -(-len(dataset.rows("train")) // batch)
        series = options.take_turns(contenders, units)
        extra = {name: _extra(contender) for name, contender in contenders.items()}
        versions = {key: value for one in contenders.values() for key, value in one.versions.items()}
    found = series.measurements
    share = faster(found[OURS], found[ROOF])
    waited = said(contenders[OURS], "waited")
    first = (
        f"keyart trains at {share.value:.1%} of the step alone ({share.low:.1%} to {share.high:.1%}; goal {GOAL:.0%}), "
        f"{found[OURS].units_per_s:,.0f} posters/s, and waits for data {waited:.2%} of the time."
    )
    rivals = [name for name in RIVALS if name in found]
    verdict = [first, *(f"It is {faster(found[OURS], found[name])} times as fast as {name}." for name in rivals)]
    return Findings(
        rows=rows_of(
            series, _cell(options, bench), {OURS: Role.OURS, PRECISE: Role.OURS, ROOF: Role.ROOF}, extra=extra
        ),
        inputs=bench.inputs,
        method=(
            f"{ARCHITECTURE} at {bench.size}, batches of {batch}, {steps} steps a lap, {options.threads} threads; "
            "ours and "
            f"the roof in {'bf16' if cpu_computes_bf16() else 'fp32'}, memory channels last, unless said otherwise. "
            "Worker processes count in CPU time and memory; memory that processes share counts once."
        ),
        verdict=tuple(verdict),
        missing={name: "left out of a quick run" for name in (*RIVALS, PRECISE) if name not in found},
        disturbed=disturbance(series, "training"),
        repeated=series.repeated,
        versions=versions,
    )


def _starts(bench: Workbench, images: Path, options: Options, batch: int, steps: int) -> dict[str, Start]:
    ours = {"dataset": str(bench.dataset), "threads": options.threads, "steps": steps}
    workers = 0 if options.quick else options.threads
    theirs = {"folder": str(images), "threads": options.threads, "workers": workers, "steps": steps}
    theirs |= {"size": bench.size, "batch": batch}
    bf16 = cpu_computes_bf16()
    recipe, precise = (bench.recipe(batch_size=batch, precision=one).to_dict() for one in ("auto", "fp32"))

    def of_ours(recipe: dict[str, object], name: str, *, resident: bool) -> Start:
        job = {**ours, "recipe": recipe, "resident": resident, "run": str(bench.folder / f"run-{name}")}
        return Start(module="training_keyart", job=job)

    starts = {
        OURS: of_ours(recipe, "ours", resident=False),
        PRECISE: of_ours(precise, "fp32", resident=False),
        ROOF: of_ours(recipe, "roof", resident=True),
        TUNED: Start(module="training_torchvision", job={**theirs, "autocast": bf16, "channels_last": True}),
        PLAIN: Start(module="training_torchvision", job={**theirs, "autocast": False, "channels_last": False}),
        TIMM: Start(module="training_timm", job={**theirs, "autocast": bf16}),
    }
    return {name: start for name, start in starts.items() if not options.quick or name in QUICK}


def _image_folder(dataset: Dataset, folder: Path) -> Path:
    """Write the training posters as ImageFolder wants them: the same bytes, a folder a label."""
    table = dataset.rows("train")
    source, targets = PosterSource(dataset.archive, table), dataset.targets(table)
    bodies = [source.read(row) for row in range(len(table))]
    posters = [
        Poster(movie_id=movie_id, target=int(target), body=body, dataset=str(dataset.folder))
        for movie_id, target, body in zip(table["movie_id"], targets, bodies, strict=True)
        if not isinstance(body, Reason)
    ]
    folder.mkdir()
    loading_torch.write(posters, folder)
    return folder


def _extra(contender: Laps) -> dict[str, float | str]:
    return {"waits for data": f"{said(contender, 'waited'):.1%}", "loss": said(contender, "loss")}


def _cell(options: Options, bench: Workbench) -> dict[str, str]:
    return {"network": f"{ARCHITECTURE} at {bench.size}", "threads": str(options.threads)}
