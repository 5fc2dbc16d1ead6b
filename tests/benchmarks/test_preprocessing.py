"""The quick form works from the command line to the files; the charts and the verdict say what was found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import BARS_PX, Bar, Group, draw_bars
from benchmarks.contest import Entry, PeerProcess
from benchmarks.posters import find_posters
from benchmarks.preprocessing import METHODS, QUICK
from benchmarks.result import read_result
from benchmarks.studies import read_accuracies
from crawler.errors import UnusableInput, WorkFailed


def test_quick_form_measures_and_writes(tmp_path: Path) -> None:
    """Rows for each method and competitor, within the reference's bounds, as JSON, Markdown and SVG."""
    command = [sys.executable, "-m", "keyart", "--json", "bench", "preprocessing", str(tmp_path / "out"), "--quick"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    summary = json.loads(done.stdout)
    assert any("Random crop 280 of a w185 poster never crops" in sentence for sentence in summary["verdict"])
    rows = read_result(tmp_path / "out" / "preprocessing.json").findings.rows
    assert {(row.name, row.cell["method"]) for row in rows} == {(n, str(m)) for n in QUICK for m in METHODS}
    differing = [row.extra for row in rows if "difference" in row.extra]
    assert all(float(extra["difference"]) <= 0.5 and float(extra["largest"]) <= 3 for extra in differing)
    page = (tmp_path / "out" / "preprocessing.md").read_text()
    assert all(name in page for name in QUICK)
    ET.fromstring((tmp_path / "out" / "preprocessing.svg").read_text())


def test_accuracy_comes_from_studies(tmp_path: Path) -> None:
    """With the study's own interval, or Student's over its seeds; arms that are no method are passed over."""
    arms = [{"name": "pad"}, {"name": "x", "corrections": ["preprocess.method=resize"]}, {"name": "mish"}]
    results = [
        {"arm": "pad", "task": "genre", "seeds": 4, "top1": 0.5, "top1_sd": 0.02},
        {"arm": "x", "task": "genre", "seeds": 4, "figures": {"top1": {"estimate": 0.6, "low": 0.55, "high": 0.65}}},
        {"arm": "mish", "task": "genre", "seeds": 4, "top1": 0.7, "top1_sd": 0.02},
    ]
    (tmp_path / "other.json").write_text("[]")
    (tmp_path / "results.json").write_text(json.dumps({"study": {"name": "s", "arms": arms}, "results": results}))
    pad, resize = read_accuracies(tmp_path)
    assert (pad.method, resize.method) == ("pad", "resize")
    assert (pad.low, pad.high) == pytest.approx((0.4682, 0.5318), abs=1e-4)
    assert str(resize) == "60.0% (55.0% to 65.0%)"
    assert read_accuracies(None) == []


def test_a_folder_without_posters_is_refused(tmp_path: Path) -> None:
    """The message says how many were found and how many are needed."""
    with pytest.raises(UnusableInput, match="0 JPEGs can be read there; expected at least 32"):
        find_posters(tmp_path, 64, tmp_path / "cache")


def test_a_peer_that_cannot_start_says_why(tmp_path: Path) -> None:
    """The last line that it wrote is the message."""
    entry = Entry(name="nobody", module="nobody", variant="", filter="none")
    with (
        PeerProcess(entry, 1, Path(sys.executable)) as peer,
        pytest.raises(
            WorkFailed, match=r"peer nobody: ModuleNotFoundError: No module named 'benchmarks\.peers\.nobody'"
        ),
    ):
        peer.load("job", [], [], 224)


def test_chart_is_svg_with_a_bar_for_each_value() -> None:
    """Labels are escaped, and the longest bar is the largest value."""
    bars = [Bar(label="a < b", value=50), Bar(label="ours", value=100, ours=True)]
    root = ET.fromstring(draw_bars([Group(title="rates", bars=bars, roof=200)]))
    space = "{http://www.w3.org/2000/svg}"
    widths = [float(bar.get("width", 0)) for bar in root.iter(f"{space}rect") if bar.get("class") in {"bar", "ours"}]
    assert widths == [BARS_PX / 4, BARS_PX / 2]
    assert "a < b" in [text.text for text in root.iter(f"{space}text")]
