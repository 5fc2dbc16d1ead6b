"""A run or predictions -> one self-contained HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawler.errors import UnusableInput, WorkFailed
from serving.bulk import MANIFEST
from serving.page import page, write_page
from serving.prediction_report import prediction_sections
from serving.run_report import run_sections
from serving.summaries import ReportSummary
from training.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What a report shows."""

    pictures: bool = True
    """Whether posters are shown; without them the file may be passed on where they may not."""
    catalog: Path | None = None
    """Catalogue, for titles and for the counts per genre of all movies."""


DEFAULT = ReportOptions()


def write_report(source: Path, out: Path, options: ReportOptions = DEFAULT) -> ReportSummary:
    """Draw a run or predictions as one page.

    Args:
        source: Folder written by ``keyart train`` or ``keyart score``.
        out: HTML file to write; an earlier one is replaced.
        options: What it shows.

    Raises:
        UnusableInput: ``source`` is neither, or what it refers to is gone.
        WorkFailed: The file cannot be written.
    """
    if RunFolder(source).manifest.exists():
        kind, drawn = "run", run_sections(source, options.catalog, pictures=options.pictures)
    elif (source / MANIFEST).exists():
        kind, drawn = "predictions", prediction_sections(source, options.catalog, pictures=options.pictures)
    else:
        found = "no run.json and no manifest.json in it" if source.is_dir() else "no such folder"
        msg = f"report source {source}: {found}; expected a folder written by `keyart train` or `keyart score`"
        raise UnusableInput(msg)
    text = page(drawn.title, drawn.subtitle, drawn.sections)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_page(out, text)
    except OSError as error:
        msg = f"report {out}: cannot be written ({error.strerror}); choose another file with -o"
        raise WorkFailed(msg) from error
    return ReportSummary(
        report=str(out),
        source=str(source),
        kind=kind,
        posters=drawn.posters,
        pictures=options.pictures,
        size_bytes=out.stat().st_size,
    )
