"""Scoring that is killed again and again ends with the bytes of an undisturbed run; no finished file is made twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from crawler.shards import SHARD_FOLDER, write_shard
from tests.serving.posters import failure, poster, record

KEYART = Path(sys.executable).with_name("keyart")
SHARD_POSTERS = 40


@pytest.fixture(scope="module", params=[4, pytest.param(50, marks=pytest.mark.slow)])
def kills(request: pytest.FixtureRequest) -> int:
    """How often it is killed."""
    return request.param


@pytest.fixture(scope="module")
def archive(kills: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small shards a kill, so that every kill finds some finished and some not."""
    folder = tmp_path_factory.mktemp("kill") / "archive"
    (folder / SHARD_FOLDER).mkdir(parents=True)
    bodies = [poster(seed) for seed in range(SHARD_POSTERS)]
    for shard in range(10 * kills):
        outcomes = [record(shard * 1000 + index, body) for index, body in enumerate(bodies)]
        write_shard(folder / SHARD_FOLDER, f"shard-{shard:05d}", [*outcomes, failure(shard * 1000 + 999)])
    return folder


class Victim:
    """The real command in a process of its own, with the Ray that it starts."""

    def __init__(self, model: Path, archive: Path, out: Path) -> None:
        words = [KEYART, "score", model, archive, "-o", out, "--batch", "1", "--probabilities"]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._family: dict[int, psutil.Process] = {}

    def family(self) -> list[psutil.Process]:
        """Every process that it has started, remembered beyond its own death."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._family[child.pid] = child
        return [child for child in self._family.values() if child.is_running()]

    def workers(self) -> list[psutil.Process]:
        """Ray workers that are scoring."""
        found = []
        for child in self.family():
            with suppress(psutil.NoSuchProcess):
                if "score_chunk" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def end(self) -> None:
        """Leave nothing running."""
        family = self.family()
        self.process.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate()


def attempt(victim: Victim, out: Path, chance: random.Random, seen: dict[str, int], kills: int) -> int:
    """Let it run until it ends, killing workers and at last perhaps the driver; return the kills that were made."""
    made = 0
    begun = len(list(out.glob("*.parquet")))
    while victim.process.poll() is None:
        time.sleep(0.02)
        victim.family()
        for path in out.glob("*.parquet"):
            with suppress(FileNotFoundError):
                seen.setdefault(path.name, path.stat().st_ino)
        if made >= kills or len(seen) < begun + 1 + made:
            continue
        time.sleep(chance.uniform(0, 0.2))
        if (workers := victim.workers()) and chance.random() < 0.6:
            with suppress(psutil.NoSuchProcess):
                chance.choice(workers).kill()
                made += 1
        else:
            os.kill(victim.process.pid, signal.SIGKILL)
            return made + 1
    return made


def score_with_kills(model: Path, archive: Path, out: Path, kills: int) -> dict[str, int]:
    """Run the command, with that many kills on the way, until it is done; return each file's first inode."""
    chance, seen, made = random.Random(kills), {}, 0
    out.mkdir()
    for _ in range(2 * kills + 5):
        victim = Victim(model, archive, out)
        try:
            made += attempt(victim, out, chance, seen, kills - made)
        finally:
            victim.end()
        if victim.process.returncode == 0:
            break
    assert victim.process.returncode == 0
    assert made == kills
    return seen


@pytest.fixture(scope="module")
def undisturbed(model: Path, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of every prediction file of a run that nobody disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    victim = Victim(model, archive, out)
    _, stderr = victim.process.communicate()
    assert victim.process.returncode == 0, stderr
    return {path.name: path.read_bytes() for path in out.glob("*.parquet")}


@pytest.mark.cluster
@pytest.mark.timeout(3600)
def test_killed_scoring_resumes_to_the_same_bytes(
    model: Path, archive: Path, undisturbed: dict[str, bytes], tmp_path: Path, kills: int
) -> None:
    """After random `kill -9` of workers and driver, files are whole, equal, and as first committed."""
    first = score_with_kills(model, archive, tmp_path / "out", kills)
    found = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.parquet")}
    assert found == undisturbed
    assert len(found) == 10 * kills
    assert {path.name: path.stat().st_ino for path in (tmp_path / "out").glob("*.parquet")} | first == first
    assert not list((tmp_path / "out").glob("*.tmp"))
