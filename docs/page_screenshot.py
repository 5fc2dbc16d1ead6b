"""A drawn demo -> the picture of the server's page in the README: drawn posters, their bars and heat maps.

Run it as `PYTHONPATH=. python docs/page_screenshot.py keyart-demo docs/images/page.png`; it needs Debian's chromium and
chromium-driver.
"""  # noqa: INP001 - a script, not a package

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import polars as pl

from dataloading.dataset import Dataset
from dataloading.source import PosterSource
from serving.service import ServiceOptions
from tests.serving.browser import Browser
from tests.serving.server import Server

POSTERS = 2
MOST_SURE = 0.9  # so that there is more than one bar to see


def page_screenshot(demo: Path, out: Path) -> None:
    """Score held-out posters of a drawn demo on the page, in a real Chromium."""
    dataset = Dataset.load(demo / "dataset")
    rows = pl.read_parquet(demo / "run" / "predictions.parquet").join(dataset.table.drop("target"), on="movie_id")
    rows = rows.with_columns(sure=pl.col("probabilities").list.max()).filter(pl.col("target") == pl.col("label"))
    doubtful = rows.filter(pl.col("sure") < MOST_SURE).sort("sure", "movie_id", descending=[True, False])
    chosen = doubtful.group_by("target", maintain_order=True).head(1).select(rows.columns).head(POSTERS)
    source = PosterSource(dataset.archive, chosen)
    with tempfile.TemporaryDirectory() as folder, Server(demo / "model", ServiceOptions()) as port:
        files = [Path(folder) / f"drawn poster {movie_id}.jpg" for movie_id in chosen["movie_id"]]
        for index, file in enumerate(files):
            file.write_bytes(source.read(index))
        with Browser(width=900, height=1010) as browser:
            browser.open(f"http://127.0.0.1:{port}/")
            browser.choose_files("#files", *files)
            browser.until(f"document.querySelectorAll('article canvas').length === {len(files)}")
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(browser.screenshot())


if __name__ == "__main__":
    page_screenshot(Path(sys.argv[1]), Path(sys.argv[2]))
