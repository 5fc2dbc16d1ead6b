"""A drawn demo -> the picture in the README: held-out posters, and what the model took them for.

Run it as `python docs/contact_sheet.py keyart-demo docs/images/posters.png`.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import io
import sys
from pathlib import Path

import polars as pl
from PIL import Image, ImageDraw, ImageFont

from dataloading.dataset import Dataset
from dataloading.source import PosterSource

COLUMNS, WIDTH, HEIGHT, CAPTION, GAP = 10, 104, 156, 34, 6
PAPER, INK, RIGHT, WRONG = (251, 251, 249), (27, 31, 36), (29, 122, 70), (179, 38, 30)


def contact_sheet(demo: Path, out: Path) -> None:
    """Show for each label a poster that was named right, and below some that were not."""
    dataset = Dataset.load(demo / "dataset")
    rows = pl.read_parquet(demo / "run" / "predictions.parquet").join(dataset.table.drop("target"), on="movie_id")
    rows = rows.with_columns(sure=pl.col("probabilities").list.max()).sort("sure", "movie_id", descending=[True, False])
    right = rows.filter(pl.col("target") == pl.col("label")).group_by("target", maintain_order=True).head(2)
    right = right.select(rows.columns).head(2 * COLUMNS)
    wrong = rows.filter(pl.col("target") != pl.col("label")).head(COLUMNS)
    chosen = pl.concat([right, wrong])
    source, font = PosterSource(dataset.archive, chosen), ImageFont.load_default(12)
    lines = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (WIDTH + GAP) + GAP, lines * (HEIGHT + CAPTION + GAP) + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, row in enumerate(chosen.iter_rows(named=True)):
        x, y = GAP + index % COLUMNS * (WIDTH + GAP), GAP + index // COLUMNS * (HEIGHT + CAPTION + GAP)
        with Image.open(io.BytesIO(source.read(index))) as poster:
            sheet.paste(poster.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), (x, y))
        good = row["target"] == row["label"]
        pen.text((x, y + HEIGHT + 3), f"{row['label']} {row['sure']:.0%}", RIGHT if good else WRONG, font)
        if not good:
            pen.text((x, y + HEIGHT + 17), f"is {row['target']}", INK, font)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(192, dither=Image.Dither.FLOYDSTEINBERG).save(out, optimize=True)


if __name__ == "__main__":
    contact_sheet(Path(sys.argv[1]), Path(sys.argv[2]))
