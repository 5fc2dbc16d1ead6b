"""A folder of posters, or none -> posters of the kinds that benchmarks work on."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

from crawler.drawn import draw_poster
from crawler.errors import UnusableInput
from crawler.records import Reason
from dataloading.jpeg import shown_size

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE: Final = {"w342": (513, 342), "w500": (750, 500)}
"""Height and width of the kinds that are made by enlarging w185 posters."""
QUALITY: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Posters of one kind."""

    name: str
    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    """Height and width of each."""
    drawn: bool = False

    def __str__(self) -> str:
        """What stands under a table."""
        mean = sum(path.stat().st_size for path in self.paths) / len(self.paths) / 1000
        return (
            f"{len(self.paths):,} {'drawn' if self.drawn else 'real'} {self.name} posters of {mean:.1f} kB on average"
        )


def default_folder() -> Path | None:
    """Where real posters lie if the command does not say: ``$KEYART_DATA/posters``, or nowhere."""
    data = os.environ.get("KEYART_DATA")
    return Path(data) / "posters" if data else None


def find_posters(folder: Path | None, count: int, cache: Path, least: int = 32) -> Source:
    """Gather w185 posters.

    Args:
        folder: JPEGs, of which ``count`` are taken, evenly spread; None draws posters instead.
        count: At most.
        cache: Folder for what is drawn.
        least: Posters that must be there.

    Raises:
        UnusableInput: ``folder`` holds too few posters that can be read.
    """
    found = _drawn(count, cache / "drawn-w185") if folder is None else _spread(folder, count)
    paths, sizes = _readable(found)
    if len(paths) < least:
        msg = f"posters {folder}: {len(paths)} JPEGs can be read there; expected at least {least}"
        raise UnusableInput(msg)
    return Source(name="w185", paths=tuple(paths), sizes=tuple(sizes), drawn=folder is None)


def enlarge(source: Source, name: str, count: int, cache: Path) -> Source:
    """Make ``count`` posters of the kind ``name`` by enlarging those of ``source`` and encoding them again."""
    size = WIDE[name]
    paths = [_enlarged(path, size, cache / name) for path in source.paths[:count]]
    return Source(name=name, paths=tuple(paths), sizes=(size,) * len(paths), drawn=source.drawn)


def _spread(folder: Path, count: int) -> list[Path]:
    paths = sorted(folder.glob("*.jpg"))
    return paths[:: max(1, len(paths) // count)][:count]


def _readable(paths: Sequence[Path]) -> tuple[list[Path], list[tuple[int, int]]]:
    sizes = {path: shown_size(path.read_bytes()) for path in paths}
    found = {path: size for path, size in sizes.items() if not isinstance(size, Reason)}
    return list(found), list(found.values())


def _drawn(count: int, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed}.jpg" for seed in range(count)]
    for seed, path in enumerate(paths):
        if not path.exists():
            genre = ("Comedy", "Horror")[seed % 2]
            path.write_bytes(draw_poster(seed=seed, genre=genre, title=f"Poster {seed}", height=278, width=185))
    return paths


def _enlarged(path: Path, size: tuple[int, int], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    large = folder / path.name
    if not large.exists():
        with Image.open(path) as image:
            body = io.BytesIO()
            image.convert("RGB").resize((size[1], size[0]), Image.Resampling.LANCZOS).save(
                body, "JPEG", quality=QUALITY
            )
        large.write_bytes(body.getvalue())
    return large
