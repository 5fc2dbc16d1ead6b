"""`keyart dataset` as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from keyart import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import World


@pytest.fixture
def folder(make_world: Callable[..., World], tmp_path: Path) -> Path:
    """A folder with an archive of 60 posters and catalogues."""
    world = make_world(60)
    catalog = world.write()
    catalog.write_parquet(tmp_path / "catalog.parquet")
    catalog.with_columns(movie_id=catalog["movie_id"] + 1000).write_parquet(tmp_path / "other.parquet")
    catalog.drop("first_genre").write_parquet(tmp_path / "old.parquet")
    (tmp_path / "text.parquet").write_text("movie_id,title\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def keyart(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder."""
    command = [sys.executable, "-m", "keyart", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_dataset_is_built_and_summed_up(folder: Path) -> None:
    """The text has the counts; with `--json` the last line of stdout is the summary."""
    said = keyart(folder, "dataset", "archive", "catalog.parquet", "-o", "data", "--task", "comedy-horror")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("40 posters for task comedy-horror (grouped split) in data\n")
    arguments = ("dataset", "archive", "catalog.parquet", "-o", "data", "--task", "comedy-horror", "--json")
    summary = json.loads(keyart(folder, *arguments).stdout)
    assert summary["counts"]["horror"] == {"train": 14, "validation": 2, "test": 4}
    assert summary["leaks_after"]["any"] == 0


def test_show_draws_the_histogram(folder: Path) -> None:
    """Class counts and bars: the dataset's labels, or the catalogue's first genres."""
    keyart(folder, "dataset", "archive", "catalog.parquet", "-o", "data", "--task", "comedy-horror")
    said = keyart(folder, "dataset", "show", "data")
    assert (said.returncode, said.stderr) == (0, "")
    assert "horror          14           2           4" in said.stdout
    assert f"horror  {'█' * 40} 20" in said.stdout
    said = keyart(folder, "dataset", "show", "data", "--catalog", "catalog.parquet")
    assert f"Drama   {'█' * 40} 20" in said.stdout


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked")  # with sys.argv, as the command is
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere catalog.parquet --task genre", "archive nowhere: no committed shard in nowhere/shards; expected"),
        ("empty catalog.parquet --task genre", "archive empty: no committed shard"),
        ("archive nowhere.parquet --task genre", "catalogue nowhere.parquet: no such file; expected the Parquet file"),
        ("archive text.parquet --task genre", "catalogue text.parquet: is no Parquet file"),
        ("archive old.parquet --task genre", "catalogue old.parquet: column first_genre is missing"),
        ("archive other.parquet --task genre", "catalogue: has none of the 60 movies of archive archive; expected"),
        ("archive catalog.parquet --task box-office", "task box-office in archive archive: class 'did poorly' has no"),
        (
            "archive catalog.parquet --task mood",
            "task 'mood': expected one of genre, comedy-horror, genres, box-office",
        ),
        ("archive catalog.parquet --task genre --ratio 2", "option ratio of task genre: there is none; its options"),
        ("archive catalog.parquet --task genre --poster-distance 99", "poster distance 99: expected 0 to 63 bits"),
        ("archive catalog.parquet --task genre --per-class -1", "per_class -1: expected 0 or more"),
        ("archive catalog.parquet", "requires an argument"),
    ],
)
def test_unusable_input_is_one_line(
    folder: Path, arguments: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that names the thing, nothing written, no traceback."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["keyart", "dataset", *arguments.split(), "-o", "data"])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (folder / "data").exists()
