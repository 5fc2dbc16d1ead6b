"""The command's own words for what it cannot use: one line, exit code 2, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KEYART = Path(sys.executable).with_name("keyart")


def keyart(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    return subprocess.run([KEYART, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def places(model: Path, archive: Path, tmp_path: Path) -> dict[str, Path]:
    """What the words in capitals stand for."""
    (tmp_path / "empty").mkdir()
    return {"MODEL": model, "ARCHIVE": archive, "EMPTY": tmp_path / "empty"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "nowhere", "-o", "model"), "checkpoint nowhere/checkpoints/best: card.json cannot be read"),
        (("export", "nowhere", "-o", "model", "--precision", "int4"), "int4"),
        (("export", "nowhere", "-o", "model", "--engine", "tensorrt"), "engine tensorrt"),
        (("score", "nowhere", "archive", "-o", "out"), "model nowhere: card.json cannot be read"),
        (("serve", "nowhere"), "model nowhere: card.json cannot be read"),
        (("serve", "MODEL", "--port", "99999"), "address 127.0.0.1:99999: cannot be listened on"),
        (("score", "MODEL", "nowhere", "-o", "out"), "source nowhere: nothing there; expected an archive"),
        (("score", "MODEL", "EMPTY", "-o", "out"), "no poster in it"),
        (("score", "MODEL", "ARCHIVE", "-o", "out", "--top-k", "9"), "top-k 9: model"),
        (("score", "MODEL", "ARCHIVE", "-o", "out", "--batch", "0"), "batch 0: expected a whole number from 1 up"),
        (("score", "MODEL", "ARCHIVE", "-o", "out", "--min-confidence", "2"), "min-confidence 2.0: expected"),
    ],
)
def test_unusable_call_is_one_line(
    words: tuple[str, ...], message: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the thing and the value, exits with 2 and writes nothing."""
    monkeypatch.chdir(places["EMPTY"].parent)
    done = keyart(*(places.get(word, word) for word in words))
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert done.stdout == ""
    assert [path.name for path in Path().iterdir()] == ["empty"]


@pytest.mark.cluster
def test_export_and_score_from_the_command_line(run: Path, posters: Path, tmp_path: Path) -> None:
    """Both verbs end with their summary alone on stdout, as one JSON line where that is asked for."""
    model, out = tmp_path / "model", tmp_path / "out"
    exported = keyart("export", run, "-o", model, "--precision", "bf16", "--calibration", posters, "--force", "--json")
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout)["precision"] == "bf16"
    scored = keyart("score", model, posters, "-o", out, "--json")
    assert scored.returncode == 0, scored.stderr
    summary = json.loads(scored.stdout)
    assert (summary["posters"], summary["scored_now"]) == (60, 60)
    again = keyart("score", model, posters, "-o", out)
    assert again.stdout.strip().splitlines()[-1] == "nothing was left to score"
