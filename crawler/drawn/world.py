"""A seed -> a folder with drawn posters and a raw catalogue of them, with the faults that the real one has."""

from __future__ import annotations

import csv
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from crawler.drawn.canvas import Dice
from crawler.drawn.poster import GENRES, draw_poster, redrawn
from crawler.drawn.titles import collection_name, movie_title
from crawler.errors import UnusableInput
from crawler.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from crawler.progress import Advance

COLUMNS: Final = (
    *("adult", "belongs_to_collection", "budget", "genres", "homepage", "id", "imdb_id", "original_language"),
    *("original_title", "overview", "popularity", "poster_path", "production_companies", "production_countries"),
    *("release_date", "revenue", "runtime", "spoken_languages", "status", "tagline", "title", "video"),
    *("vote_average", "vote_count"),
)
"""The 24 columns of "The Movies Dataset", in their order."""

GENRE_IDS: Final = {
    "Action": 28,
    "Adventure": 12,
    "Animation": 16,
    "Comedy": 35,
    "Crime": 80,
    "Documentary": 99,
    "Drama": 18,
    "Family": 10751,
    "Horror": 27,
    "Romance": 10749,
    "Thriller": 53,
}
"""TMDb's numbers."""

SHARES: Final = {
    "Drama": 1.3,
    "Comedy": 1.2,
    "Action": 1.1,
    "Horror": 1.1,
    "Thriller": 1.0,
    "Romance": 1.0,
    "Documentary": 0.9,
    "Crime": 0.9,
    "Adventure": 0.9,
    "Animation": 0.8,
}
"""How common each genre is, beside the others."""

SIZES: Final = (
    (278, 185),
    (278, 185),
    (278, 185),
    (268, 182),
    (274, 185),
    (262, 185),
    (247, 185),
    (300, 200),
    (261, 174),
)
"""(height, width) of posters, in pixels."""

METADATA_NAME: Final = "movies_metadata.csv"
POSTERS_NAME: Final = "posters"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnWorld:
    """Where a drawn world lies."""

    metadata: Path
    """Raw catalogue: a CSV file with the original's 24 columns."""
    posters: Path
    """Folder of JPEG files, named as in the catalogue's ``poster_path``."""
    movies: int
    """Movies with a poster in the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Movie:
    movie_id: int
    title: str
    genres: tuple[str, ...]
    year: int
    poster_path: str
    popularity: str
    budget: int
    revenue: int
    collection: tuple[int, str] | None = None
    seed: int = 0
    copy_of: int | None = None
    """Seed of the movie whose poster this one's is a second file of."""


def draw_world(folder: Path, movies: int = 480, seed: int = 0, advance: Advance = silent) -> DrawnWorld:
    """Draw a world, or find it as it was drawn before.

    Among the movies are remakes with the same title, collections, posters that are near copies of another, two that
    the catalogue names and nobody serves, and one whose file is cut short. Among the rows are more: a repeated id, a
    shifted row, and ones without a title, a genre or a poster. Budgets and revenues are often 0.

    Args:
        folder: Where it goes; made if missing.
        movies: Movies with a poster, at least 20.
        seed: What everything follows from; the same seed gives the same bytes.
        advance: Told of each poster.

    Returns:
        Where the catalogue and the posters are.

    Raises:
        UnusableInput: ``movies`` is below 20, or ``seed`` below 0.
        OSError: The folder cannot be written.
    """
    if movies < 20 or seed < 0:  # noqa: PLR2004 - two of each genre
        msg = f"drawn world of {movies} movies from seed {seed}: expected at least 20 movies and a seed of 0 or above"
        raise UnusableInput(msg)
    world = DrawnWorld(metadata=folder / METADATA_NAME, posters=folder / POSTERS_NAME, movies=movies)
    world.posters.mkdir(parents=True, exist_ok=True)
    listed = _movies(movies, seed)
    served = listed[:movies]

    def draw(index: int) -> None:
        path = world.posters / served[index].poster_path.removeprefix("/")
        if not path.exists():
            body = _body(served[index], seed)
            _write(path, body[: len(body) // 2] if index == movies - 1 else body)
        advance(1)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(draw, range(movies)))
    _write(world.metadata, _csv(listed, seed))
    return world


def _body(movie: _Movie, seed: int) -> bytes:
    dice = Dice(seed, movie.movie_id if movie.copy_of is None else movie.copy_of)
    height, width = dice.pick(SIZES)
    body = draw_poster(seed=dice.whole(0, 2**31), genre=movie.genres[0], title=movie.title, height=height, width=width)
    return body if movie.copy_of is None else redrawn(body, seed=movie.movie_id)


def _movies(count: int, seed: int) -> list[_Movie]:
    """Return ``count`` movies that are served, and two more that are not."""
    dice = Dice(seed, 0)
    listed: list[_Movie] = []
    taken: set[int] = set()
    for index in range(count + 2):
        movie_id = dice.whole(100, 460_000)
        while movie_id in taken:
            movie_id = dice.whole(100, 460_000)
        taken.add(movie_id)
        genre = dice.weighted(SHARES) if index >= len(GENRES) else GENRES[index]
        movie = _fresh(dice, movie_id, genre)
        if index < count and index % 24 == 23:  # noqa: PLR2004 - one in 24 follows an earlier movie
            movie = _follower(dice, movie, dice.pick(listed), kind=index // 24 % 3)
        listed.append(movie)
    return listed


def _fresh(dice: Dice, movie_id: int, genre: str) -> _Movie:
    others = [other for other in GENRE_IDS if other != genre]
    budget = dice.whole(1, 90) * dice.pick((10_000, 100_000, 1_000_000, 1_000_000)) if dice.chance(0.7) else 0
    revenue = budget * dice.whole(5, 60) // dice.whole(8, 40) if dice.chance(0.8) else 0
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return _Movie(
        movie_id=movie_id,
        title=movie_title(dice, genre),
        genres=(genre, *(dice.pick(others) for _ in range(dice.whole(0, 1)))),
        year=dice.whole(1948, 2017),
        poster_path="/" + "".join(dice.pick(letters) for _ in range(27)) + ".jpg",
        popularity=f"{dice.whole(1, 30) * dice.whole(1, 900) / 1000:.6f}",
        budget=dice.pick((budget, budget, budget, 1)),
        revenue=revenue,
        seed=movie_id,
    )


def _follower(dice: Dice, movie: _Movie, earlier: _Movie, kind: int) -> _Movie:
    """Turn a movie into a remake of an earlier one, a part of its collection, or a second release with its poster."""
    year = min(2017, earlier.year + dice.whole(1, 20))
    movie = replace(movie, genres=earlier.genres, year=year)
    if kind == 0:
        return replace(movie, title=earlier.title)
    if kind == 1:
        return replace(movie, title=f"{earlier.title} 2", collection=(earlier.movie_id, collection_name(earlier.title)))
    source = earlier.movie_id if earlier.copy_of is None else earlier.copy_of
    return replace(movie, title=earlier.title, copy_of=source)


def _csv(listed: list[_Movie], seed: int) -> bytes:
    """Return the raw catalogue: every movie, and the faults of the original between them."""
    first_parts = {movie.collection[0]: movie.collection for movie in listed if movie.collection}
    rows = [
        _row(replace(movie, collection=movie.collection or first_parts.get(movie.movie_id)), seed) for movie in listed
    ]
    by_name = [dict(zip(COLUMNS, row, strict=True)) for row in rows[:6]]
    faults = [
        list((by_name[0] | {"popularity": "0.5"}).values()),
        list((by_name[1] | {"id": "460001", "title": " - ! ", "original_title": ""}).values()),
        list((by_name[2] | {"id": "460002", "genres": "[]", "title": "No Genre Yet"}).values()),
        list((by_name[3] | {"id": "460003", "poster_path": "", "title": "No Poster Yet"}).values()),
        list((by_name[4] | {"id": "460004", "poster_path": "", "title": "Nor Here"}).values()),
        [" - Written by nobody", "0.065736", "/" + "x" * 27 + ".jpg", "[]", *by_name[5].values()][: len(COLUMNS)],
    ]
    for place, fault in enumerate(faults):
        rows.insert((place + 1) * len(rows) // (len(faults) + 1), fault)
    return _as_csv(rows)


def _as_csv(rows: list[list[str]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return stream.getvalue().encode()


def _row(movie: _Movie, seed: int) -> list[str]:
    dice = Dice(seed, movie.movie_id, 1)
    collection = movie.collection
    values: dict[str, object] = {
        "adult": "False",
        "belongs_to_collection": {"id": collection[0], "name": collection[1], "poster_path": None}
        if collection
        else "",
        "budget": movie.budget,
        "genres": [{"id": GENRE_IDS[genre], "name": genre} for genre in movie.genres],
        "id": movie.movie_id,
        "imdb_id": f"tt{movie.movie_id + 90_000:07d}",
        "original_language": "en",
        "original_title": movie.title,
        "overview": f'A movie that nobody made, called "{movie.title}".\nIts poster is drawn.',
        "popularity": movie.popularity,
        "poster_path": movie.poster_path,
        "production_companies": "[]",
        "production_countries": [{"iso_3166_1": "US", "name": "United States of America"}],
        "release_date": f"{movie.year}-{dice.whole(1, 12):02d}-{dice.whole(1, 28):02d}",
        "revenue": movie.revenue,
        "runtime": f"{dice.whole(70, 160)}.0",
        "spoken_languages": [{"iso_639_1": "en", "name": "English"}],
        "status": "Released",
        "title": movie.title,
        "video": "False",
        "vote_average": dice.whole(30, 90) / 10,
        "vote_count": dice.whole(0, 4000),
    }
    return [str(values.get(column, "")) for column in COLUMNS]


def _write(path: Path, body: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(body)
    temporary.replace(path)
