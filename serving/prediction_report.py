"""A folder of predictions -> the sections of its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from crawler.catalog import read_catalog
from crawler.errors import UnusableInput
from crawler.records import Reason
from serving.bulk import MANIFEST, SUFFIX
from serving.charts import bars, histogram
from serving.page import Drawn, Section, card, columns, paragraph, table
from serving.pictures import Example, gallery, likeliest_first, methods
from serving.prediction import Outcome
from serving.sources import find_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES: Final = 12
"""Posters of each gallery."""
BINS: Final = 10


def prediction_sections(predictions: Path, catalog: Path | None, *, pictures: bool) -> Drawn:
    """Draw predictions.

    Args:
        predictions: Folder written by ``keyart score``.
        catalog: For titles; None shows ids or file names.
        pictures: Whether posters are shown.

    Raises:
        UnusableInput: The folder holds no predictions, or pictures are wanted and the source is gone.
    """
    manifest = _manifest(predictions)
    files = sorted(predictions.glob(f"*{SUFFIX}"))
    if not files:
        msg = f"predictions {predictions}: no {SUFFIX} file in it; the same `keyart score` command again goes on"
        raise UnusableInput(msg)
    rows = pl.concat(
        [pl.read_parquet(path).with_columns(chunk=pl.lit(path.stem)).with_row_index("row") for path in files]
    )
    rows = _titled(rows, read_catalog(catalog) if catalog else None)
    scored = rows.filter(pl.col("status") != Outcome.FAILED)
    likely = scored.sort(pl.col("probability"), "chunk", "row", descending=[True, False, False])
    per_label = max(1, EXAMPLES // max(1, len(manifest["vocabulary"])))
    surest = likely.filter(pl.col("label").is_not_null()).group_by("label", maintain_order=True).head(per_label)
    chosen = {
        "Surest of each label": surest.select(rows.columns).head(EXAMPLES),
        "Least sure": likely.tail(EXAMPLES // 2),
    }
    wanted = pl.concat(list(chosen.values())) if pictures else rows.head(0)
    bodies = _bodies(Path(manifest["source"]), wanted)
    sections = [Section(heading="Result", body=_counts(rows))]
    if bodies:
        sections.append(
            Section(
                heading="Four ways to make a poster square",
                body=methods(next(iter(bodies.values())), pictures=pictures),
            )
        )
    for heading, some in chosen.items():
        sections.append(Section(heading=heading, body=_gallery(some, bodies, manifest["vocabulary"])))
    return Drawn(
        title=f"{manifest['task']}: {len(rows):,} posters scored",
        subtitle=f"{predictions.name}, by {manifest['model_id']}, from {Path(manifest['source']).name}",
        sections=tuple(sections),
        posters=len(rows),
    )


def _counts(rows: pl.DataFrame) -> str:
    scored = rows.filter(pl.col("status") != Outcome.FAILED)
    labels = scored["label"].fill_null("no label: not sure").value_counts(sort=True)
    reasons = rows.filter(pl.col("status") == Outcome.FAILED)["reason"].value_counts(sort=True)
    parts = (scored["probability"] * BINS).floor().clip(0, BINS - 1).cast(pl.Int64).value_counts()
    found: dict[int, int] = dict(parts.iter_rows())
    failed = len(rows) - len(scored)
    lead = f'<p class="lead"><b>{len(scored):,}</b> of {len(rows):,} posters scored; {failed:,} could not be.</p>'
    cards = [
        card("Posters by label", bars("Posters by predicted label", dict(labels.iter_rows()))),
        card(
            "Probability of the likeliest label",
            histogram("Posters by probability", [found.get(index, 0) for index in range(BINS)]),
        ),
    ]
    if failed:
        names = {str(reason).replace("_", " "): count for reason, count in reasons.iter_rows()}
        cards.append(card("Not scored, by reason", bars("Posters not scored", names, reds=frozenset(names))))
    figures = table(("label", "posters"), labels.iter_rows())
    return lead + columns(cards) + f"<details><summary>As a table</summary>{figures}</details>"


def _gallery(rows: pl.DataFrame, bodies: Mapping[tuple[str, int], bytes], vocabulary: list[str]) -> str:
    examples: list[Example] = []
    for line in rows.iter_rows(named=True):
        named = (
            likeliest_first(vocabulary, line["probabilities"])
            if line["probabilities"]
            else {line["label"] or "not sure": line["probability"]}
        )
        body = bodies.get((line["chunk"], line["row"]))
        examples.append(Example(body=body, title=line["title"], probabilities=named))
    return gallery(examples) if examples else paragraph("There is none.")


def _bodies(source: Path, rows: pl.DataFrame) -> dict[tuple[str, int], bytes]:
    """Read the posters of some rows from where they were scored; a row stands where its poster stood."""
    bodies: dict[tuple[str, int], bytes] = {}
    if rows.is_empty():
        return bodies
    places = {name: group["row"].to_list() for (name,), group in rows.group_by("chunk")}
    for chunk in find_chunks(source):
        if chunk.name in places:
            with chunk.open() as posters:
                for index in places[chunk.name]:
                    body = posters.read(index)
                    if not isinstance(body, Reason):
                        bodies[chunk.name, index] = body
    return {key: bodies[key] for key in rows.select("chunk", "row").iter_rows() if key in bodies}


def _titled(rows: pl.DataFrame, movies: pl.DataFrame | None) -> pl.DataFrame:
    name = pl.coalesce(pl.format("movie {}", "movie_id"), "source")
    if movies is None:
        return rows.with_columns(title=name)
    titles = movies.select("movie_id", title=pl.concat_str("title", pl.format(" ({})", "year"), ignore_nulls=True))
    return rows.join(titles, on="movie_id", how="left").with_columns(title=pl.coalesce("title", name))


def _manifest(predictions: Path) -> dict[str, Any]:
    path = predictions / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        _ = manifest["task"], manifest["vocabulary"], manifest["source"], manifest["model_id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"predictions {predictions}: {MANIFEST} cannot be read ({error}); expected a folder of `keyart score`"
        raise UnusableInput(msg) from error
    return manifest
