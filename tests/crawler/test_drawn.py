"""The drawn world is the same on every machine, looks like its genre without giving it away, and has real faults."""

from __future__ import annotations

import ast
import csv
import hashlib
import io
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crawler.drawn import GENRES, draw_poster, draw_world
from crawler.drawn.world import COLUMNS
from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from pathlib import Path

    from crawler.drawn import DrawnWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DrawnWorld:
    """A small world."""
    return draw_world(tmp_path_factory.mktemp("world"), movies=120, seed=3)


def rows_of(world: DrawnWorld) -> list[dict[str, str]]:
    """The raw catalogue's rows."""
    with world.metadata.open(newline="") as stream:
        return list(csv.DictReader(stream))


def digest_of(folder: Path) -> str:
    """One hash over every file's name and bytes."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    genre=st.sampled_from(GENRES),
    title=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=40),
    height=st.integers(120, 400),
    width=st.integers(80, 300),
)
def test_any_poster_decodes_to_the_size_asked_for(seed: int, genre: str, title: str, height: int, width: int) -> None:
    """Every seed, genre, title and size gives a JPEG of exactly that height and width."""
    body = draw_poster(seed=seed, genre=genre, title=title, height=height, width=width)
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (width, height))


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    """Two worlds from one seed are equal byte by byte; another seed gives another world."""
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        draw_world(tmp_path / name, movies=30, seed=seed)
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "same")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "other")


def test_a_world_that_is_there_is_completed_not_drawn_again(tmp_path: Path) -> None:
    """A second call draws only what is missing, and the result is the undisturbed one."""
    first = draw_world(tmp_path, movies=30)
    before = digest_of(tmp_path)
    posters = sorted(first.posters.iterdir())
    posters[0].unlink()
    kept = posters[1].stat().st_mtime_ns
    draw_world(tmp_path, movies=30)
    assert digest_of(tmp_path) == before
    assert posters[1].stat().st_mtime_ns == kept


def test_catalogue_has_the_original_columns_and_faults(world: DrawnWorld) -> None:
    """24 columns; a repeated id, a shifted row, missing titles, genres, posters and money are all in it."""
    rows = rows_of(world)
    assert tuple(rows[0]) == COLUMNS
    ids = [row["id"] for row in rows]
    assert len(ids) - len(set(ids)) == 1
    assert sum(not row["id"].isdigit() for row in rows) == 1
    assert any(row["genres"] == "[]" for row in rows)
    assert sum(row["poster_path"] == "" for row in rows) == 2
    assert any(not any(letter.isalnum() for letter in row["title"]) for row in rows)
    assert {"0", "1"} <= {row["budget"] for row in rows}
    assert any("Collection" in row["belongs_to_collection"] for row in rows)


def test_every_served_poster_is_listed_and_two_are_not_served(world: DrawnWorld) -> None:
    """The folder holds exactly the posters of the catalogue less two, under the names of `poster_path`."""
    listed = {row["poster_path"].removeprefix("/") for row in rows_of(world) if row["poster_path"].endswith(".jpg")}
    served = {path.name for path in world.posters.iterdir()}
    shifted = {"x" * 27 + ".jpg"}
    assert served <= listed
    assert len(listed - served - shifted) == 2
    assert len(served) == 120


def test_exactly_one_poster_is_cut_short(world: DrawnWorld) -> None:
    """One file does not decode to its end, as happens in the wild; all others do."""
    broken = 0
    for path in world.posters.iterdir():
        with Image.open(path) as image:
            try:
                image.load()
            except OSError:
                broken += 1
    assert broken == 1


def test_colour_alone_does_not_tell_the_genre(world: DrawnWorld) -> None:
    """The nearest mean colour of a genre finds a poster's genre in less than half of all cases."""
    colours: dict[str, list[np.ndarray]] = {}
    for row in rows_of(world):
        path = world.posters / row["poster_path"].removeprefix("/")
        if path.is_file() and (genres := ast.literal_eval(row["genres"])):
            with Image.open(path) as image, suppress(OSError):  # the one that is cut short
                tiny = image.convert("RGB").reduce(8)
                colours.setdefault(genres[0]["name"], []).append(np.asarray(tiny, dtype=float).mean(axis=(0, 1)))
    centres = {genre: np.mean(values, axis=0) for genre, values in colours.items()}
    hits = [
        min(centres, key=lambda name: float(np.abs(centres[name] - value).sum())) == genre
        for genre, values in colours.items()
        for value in values
    ]
    assert 0.1 < np.mean(hits) < 0.5


def test_unknown_genre_names_the_choices() -> None:
    """The message names the genre given and those that can be drawn."""
    with pytest.raises(UnusableInput, match="genre 'Western': expected one of Drama, Comedy"):
        draw_poster(seed=0, genre="Western", title="Dust", height=278, width=185)


def test_a_world_too_small_is_refused(tmp_path: Path) -> None:
    """The message states what was asked for and the least that is possible."""
    with pytest.raises(UnusableInput, match=r"19 movies .* at least 20"):
        draw_world(tmp_path, movies=19)
    assert not list(tmp_path.iterdir())
