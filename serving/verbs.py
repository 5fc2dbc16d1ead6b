"""The command's verbs of this package: thin skins over typed functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crawler.progress import progress_bar
from serving.engine import Kind, Precision
from serving.prediction import RowOptions
from serving.receipts import ExportReport, ScoreReport  # noqa: TC001 - the command line reads the annotations
from serving.summaries import DemoReport, DoctorReport, ReportSummary  # noqa: TC001 - likewise


def export(
    run: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    engine: Kind = Kind.OPENVINO,
    precision: Precision = Precision.FP32,
    calibration: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> ExportReport:
    """Compile a run's best checkpoint into an engine, and compare it with the checkpoint itself.

    Example: `keyart export RUN -o MODEL --precision int8`

    Args:
        run: Folder written by `keyart train`, or one checkpoint in it.
        output: Folder of the model; an earlier model there is replaced.
        engine: Library that runs it: openvino on a CPU, tensorrt or tensorrt-rtx on an NVIDIA GPU, torch anywhere.
        precision: Arithmetic of the engine; int8 is fitted to posters of the run's dataset.
        calibration: Dataset or folder of posters to fit and compare with, in place of the run's dataset.
        force: Publish the engine even if it differs from the checkpoint by more than the bound.
    """
    from serving import export as library  # noqa: PLC0415 - brings torch, which --help does without

    options = library.ExportOptions(engine=engine, precision=precision, calibration=calibration, force=force)
    return library.export(run, output, options)


def score(
    model: Path,
    source: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    top_k: int = 1,
    probabilities: Annotated[bool, Parameter(negative="")] = False,
    embeddings: Annotated[bool, Parameter(negative="")] = False,
    min_confidence: float = 0.0,
    batch: int = 16,
    workers: int | None = None,
    rate: float = 20.0,
    allow_private: Annotated[bool, Parameter(negative="")] = False,
) -> ScoreReport:
    """Score every poster of a source: one row each, whatever becomes of it.

    Example: `keyart score MODEL ARCHIVE -o PREDICTIONS --probabilities`

    Args:
        model: Folder written by `keyart export`.
        source: Archive of `keyart crawl`, folder of images, .txt list of image files and http(s) URLs, or .parquet with
            encoded images; archive and .parquet may be an s3:// or gs:// URL.
        output: Folder of the predictions, or its s3:// or gs:// URL; what is there already is not scored again.
        top_k: Labels a row, the likeliest first.
        probabilities: Keep the probabilities of all labels.
        embeddings: Keep the network's embedding of each poster, for similarity search.
        min_confidence: A poster whose likeliest label is below this probability gets no label.
        batch: Posters a call of the engine.
        workers: Worker processes; as many as fit the machine if not given.
        rate: Requests per second to a host, of each worker, for URLs in a list.
        allow_private: Let URLs in a list lead to loopback and private addresses.
    """
    from crawler.fetch import FetchOptions  # noqa: PLC0415 - brings the HTTP client
    from serving import cluster  # noqa: PLC0415 - brings Ray
    from serving.lists import Reaching  # noqa: PLC0415

    rows = RowOptions(top_k=top_k, probabilities=probabilities, embeddings=embeddings, min_confidence=min_confidence)
    reaching = Reaching(rate=rate, fetch=FetchOptions(allow_private=allow_private))
    options = cluster.ScoreOptions(rows=rows, batch=batch, workers=workers, reaching=reaching)
    with progress_bar("scoring", total=None) as advance:
        return cluster.score(model, source, output, options, advance)


def serve(
    model: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: Annotated[str | None, Parameter(env_var="KEYART_TOKEN")] = None,
    batch: int = 16,
    queue: int = 256,
    also: Path | None = None,
    cluster: Annotated[bool, Parameter(negative="")] = False,
    replicas: int = 1,
    threads: int | None = None,
) -> None:
    """Serve a model over HTTP: posters in, labels out, and a page to try it.

    Example: `keyart serve MODEL --port 8000`, then open http://127.0.0.1:8000/

    Args:
        model: Folder written by `keyart export`.
        host: Address to listen on; 0.0.0.0 lets other machines in, so set a token then.
        port: Port to listen on; 0 takes any that is free.
        token: Word that clients must bring as `Authorization: Bearer WORD`.
        batch: Posters a call of the engine, at most.
        queue: Posters that may wait; further ones are answered 429.
        also: Second model, of another task (box-office: the chance of earning the budget back), shown beside the first.
        cluster: Serve from Ray instead of this process: the cluster of RAY_ADDRESS, or a Ray on this machine.
        replicas: Processes with a loaded model, with `--cluster`.
        threads: CPU threads of the engine (of each replica); all of this machine, or its share of them, if not given.
    """
    from serving import host as library  # noqa: PLC0415 - brings the web framework
    from serving.batcher import BatcherOptions  # noqa: PLC0415
    from serving.service import ServiceOptions  # noqa: PLC0415

    threads = threads or max(1, len(os.sched_getaffinity(0)) // (replicas if cluster else 1))
    options = ServiceOptions(
        batcher=BatcherOptions(largest=batch, queue=queue), threads=threads, also=also, token=token
    )
    if cluster:
        from serving.cluster import serve_replicas  # noqa: PLC0415 - brings Ray

        serve_replicas(model, host, port, options, replicas)
    else:
        library.serve(model, host, port, options)


def report(
    source: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    catalog: Path | None = None,
    no_pictures: Annotated[bool, Parameter(negative="")] = False,
) -> ReportSummary:
    """Draw a run, a study or predictions as one HTML file that needs nothing outside itself.

    Example: `keyart report RUN -o report.html --catalog catalog.parquet`

    Args:
        source: Folder written by `keyart train`, `keyart experiment` or `keyart score`.
        output: HTML file; an earlier one is replaced. Of a study, a name that ends in .md writes its tables alone.
        catalog: Catalogue of `keyart catalog`, for titles and counts per genre.
        no_pictures: Leave the posters out, so that the file may be passed on where they may not.
    """
    from serving import report as library  # noqa: PLC0415 - brings torch, which --help does without

    return library.write_report(source, output, library.ReportOptions(pictures=not no_pictures, catalog=catalog))


def demo(
    *,
    data: Path | None = None,
    weights: str | None = None,
    output: Annotated[Path, Parameter(alias="-o")] = Path("keyart-demo"),
) -> DemoReport:
    """Go the whole way in one command: catalogue, crawl, dataset, training, export, scoring and report.

    Without `--data` the posters are drawn and the movies made up. The same command again goes on where it stopped.

    Example: `keyart demo --data DIR -o real`

    Args:
        data: Folder with posters/ and metadata/movies_metadata.csv: comedy against horror on real posters.
        weights: What training begins from: a file, timm:NAME, or scratch; if not given, the file in DIR/weights.
        output: Folder for everything that is made.
    """
    from serving import demo as library  # noqa: PLC0415 - brings torch, which --help does without

    return library.run_demo(output, library.DemoOptions(data=data, weights=weights), progress_bar)


def doctor() -> DoctorReport:
    """Try every part on this machine: what works, what is missing, and how to get it.

    Example: `keyart doctor`
    """
    from serving import doctor as library  # noqa: PLC0415 - brings torch, which --help does without

    with progress_bar("trying", library.parts()) as advance:
        return library.examine(advance)
