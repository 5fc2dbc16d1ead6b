"""A run, a study or predictions -> one self-contained HTML file, or a study's tables as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crawler.errors import UnusableInput, WorkFailed
from serving.bulk import MANIFEST
from serving.page import page, write_page
from serving.prediction_report import prediction_sections
from serving.run_report import run_sections
from serving.study_report import study_markdown, study_sections
from serving.summaries import ReportSummary
from training.run_folder import RunFolder
from training.study import StudyFolder

if TYPE_CHECKING:
    from pathlib import Path

    from serving.page import Drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What a report shows."""

    pictures: bool = True
    """Whether posters are shown; without them the file may be passed on where they may not."""
    catalog: Path | None = None
    """Catalogue, for titles and for the counts per genre of all movies."""


DEFAULT = ReportOptions()


def write_report(source: Path, out: Path, options: ReportOptions = DEFAULT) -> ReportSummary:
    """Draw a run, a study or predictions as one page.

    Args:
        source: Folder written by ``keyart train``, ``keyart experiment`` or ``keyart score``.
        out: HTML file to write; an earlier one is replaced. Of a study, ``.md`` writes its tables alone.
        options: What it shows.

    Raises:
        UnusableInput: ``source`` is neither, or what it refers to is gone.
        WorkFailed: The file cannot be written.
    """
    if StudyFolder(source).study.exists() and out.suffix == ".md":
        kind, (text, posters) = "study", study_markdown(source)
    else:
        kind, drawn = _drawn(source, options)
        text, posters = page(drawn.title, drawn.subtitle, drawn.sections), drawn.posters
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
        posters=posters,
        pictures=options.pictures,
        size_bytes=out.stat().st_size,
    )


def _drawn(source: Path, options: ReportOptions) -> tuple[str, Drawn]:
    """Find out what a folder holds, and draw it."""
    if RunFolder(source).manifest.exists():
        return "run", run_sections(source, options.catalog, pictures=options.pictures)
    if (source / MANIFEST).exists():
        return "predictions", prediction_sections(source, options.catalog, pictures=options.pictures)
    if StudyFolder(source).study.exists():
        return "study", study_sections(source, options.catalog, pictures=options.pictures)
    found = "no run.json, study.json or manifest.json in it" if source.is_dir() else "no such folder"
    msg = f"report source {source}: {found}; expected a folder of `keyart train`, `experiment` or `score`"
    raise UnusableInput(msg)
