"""Rows become files, a page, comparisons and marked figures; each says what was measured and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from benchmarks.ask import Wish
from benchmarks.compare import Change, compare
from benchmarks.everything import ask_all
from benchmarks.findings import Findings, Role, Row, Table, figures
from benchmarks.machine import this_machine
from benchmarks.page import page
from benchmarks.quoted import check, quoted
from benchmarks.report import write
from benchmarks.result import Result, read_result
from benchmarks.timing import Lap
from crawler.errors import UnusableInput

if TYPE_CHECKING:
    from pathlib import Path

CELL = {"posters": "w185", "threads": "2"}


def row(name: str, role: Role, *walls_s: float, **fields: object) -> Row:
    """A contender that took these times for 100 posters."""
    laps = tuple(Lap(wall_s=wall, cpu_s=2 * wall, peak_bytes=2**28) for wall in walls_s)
    return Row(**({"cell": CELL, "name": name, "role": role, "unit": "posters", "units": 100, "laps": laps} | fields))


def result(*rows: Row, **fields: object) -> Result:
    """A result with these rows; ours takes twice the roof's time, the peer four times."""
    given = rows or (
        row("keyart", Role.OURS, 2.0, 2.2, 1.8, extra={"loss": 0.5}),
        row("Pillow", Role.PEER, 8.0, 8.8, 7.2),
        row("decode only", Role.ROOF, 1.0, 1.1, 0.9),
    )
    findings = Findings(
        rows=given,
        inputs="256 real posters",
        method="By hand.",
        verdict=("It is so.",),
        missing={"FFCV": "has no wheel"},
        disturbed={"w185": "others took 50% of the processors in the median round"},
        tables=(Table(title="More", columns=("a", "b"), rows=(("1", "2"),)),),
        versions={"numpy": "2"},
    )
    whole = Result(
        question="preprocessing",
        title="Preparing posters",
        why="Because.",
        command="keyart bench preprocessing OUT",
        date="2026-11-24",
        elapsed_s=60.0,
        rounds=3,
        quick=False,
        load_before=0.1,
        load_after=1.9,
        machine=this_machine({"numpy": "2"}),
        findings=findings,
    )
    return replace(whole, **fields)


def test_a_ratio_is_ours_against_a_peer_and_a_share_is_of_the_roof() -> None:
    """Neither is said of a row that it makes no sense for."""
    ours, peer, roof = (figures(one, result().findings.rows) for one in result().findings.rows)
    assert ours.ours_is_faster is None
    assert peer.ours_is_faster is not None
    assert peer.ours_is_faster.value == pytest.approx(4)
    assert ours.roof_share is not None
    assert ours.roof_share.value == pytest.approx(0.5)
    assert (roof.ours_is_faster, roof.units_per_s, roof.units_per_cpu_s) == (None, 100, 50)


def test_a_peer_is_compared_with_the_row_that_it_names() -> None:
    """Rows of one filter with rows of the same filter."""
    rows = (
        row("slow", Role.OURS, 4.0),
        row("fast", Role.OURS, 1.0),
        row("OpenCV", Role.PEER, 2.0, against="fast"),
    )
    ratio = figures(rows[2], rows).ours_is_faster
    assert ratio is not None
    assert ratio.value == 2


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    """JSON holds all of it; Parquet a line a row; Markdown says what was not measured and what disturbed."""
    write(result(), tmp_path)
    assert read_result(tmp_path / "preprocessing.json") == result()
    table = pl.read_parquet(tmp_path / "preprocessing.parquet")
    assert table["name"].to_list() == ["keyart", "Pillow", "decode only"]
    assert table["ours_is_faster"].to_list()[1] == pytest.approx(4)
    text = (tmp_path / "preprocessing.md").read_text()
    assert "## w185, 2 threads: posters per second" in text
    assert "| **keyart** | 50 | 25 | 50% | - | 5.0% | 256 | 0.5 |" in text
    assert "| Pillow | 12.5 | 6.25 | 12% | 4.00 (4.00 to 4.00) | 5.0% | 256 | - |" in text
    assert "Not measured: FFCV (has no wheel)." in text
    assert "Disturbed (w185): others took 50% of the processors" in text
    ET.fromstring((tmp_path / "preprocessing.svg").read_text())


def test_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    """One line says which file, and what was expected."""
    (tmp_path / "x.json").write_text('{"format": 99}')
    with pytest.raises(UnusableInput, match=r"result .*x\.json: expected a file of `keyart bench`, format 1"):
        read_result(tmp_path / "x.json")


def test_the_page_has_a_section_for_each_machine_and_question(tmp_path: Path) -> None:
    """Quick results do not stand there, and a question without a result says so."""
    write(result(), tmp_path / "results" / "one")
    write(result(quick=True), tmp_path / "results" / "two")
    text = page(tmp_path / "results", tmp_path / "benchmarks.md")
    assert text.count("### Preparing posters") == 1
    assert "![Preparing posters](results/one/preprocessing.svg)" in text
    assert "| w185, 2 threads | Pillow | 12.5 posters | 6.25 | 12% | 4.00 (4.00 to 4.00) |" in text


@pytest.mark.parametrize(
    ("walls_s", "change"),
    [((2.0, 2.2, 1.8), Change.SAME), ((3.0, 3.3, 2.7), Change.SLOWER), ((1.5, 1.65, 1.35), Change.FASTER)],
)
def test_a_run_is_compared_by_shares_of_its_own_roof(
    tmp_path: Path, walls_s: tuple[float, ...], change: Change
) -> None:
    """A machine that is ten times slower for ours and for the roof alike has become no slower."""
    write(result(), tmp_path / "old")
    rows = (
        row("keyart", Role.OURS, *(10 * wall for wall in walls_s)),
        row("decode only", Role.ROOF, 10.0, 11.0, 9.0),
    )
    write(result(*rows), tmp_path / "new")
    write(result(), tmp_path / "all" / result().machine.slug)
    write(result(), tmp_path / "all" / "another machine")
    assert compare(tmp_path / "all", tmp_path / "new") == compare(tmp_path / "old", tmp_path / "new")
    (found,) = compare(tmp_path / "old", tmp_path / "new").rows
    assert found.change is change
    assert found.of_roof


def test_all_goes_on_where_it_stopped_and_keeps_to_its_budget(tmp_path: Path) -> None:
    """What was answered is kept; a quick answer is none to a full question; what would not end in time is not begun."""
    folder = tmp_path / this_machine(()).slug
    write(result(), folder)
    write(replace(result(quick=True), question="loading"), folder)
    wish = Wish(rounds=5)
    outcome = ask_all(["preprocessing", "loading"], wish, tmp_path, None, budget_minutes=0, again=False)
    assert (outcome.kept, outcome.no_time, outcome.failed) == (["preprocessing"], ["loading"], [])
    assert "### Preparing posters" in outcome.page.read_text()
    again = ask_all(["preprocessing"], wish, tmp_path, None, budget_minutes=0, again=True)
    assert again.no_time == ["preprocessing"]


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    """Other inputs and quick runs are passed over with a reason; a folder without results is refused."""
    write(result(), tmp_path / "old")
    write(result(quick=True), tmp_path / "new")
    found = compare(tmp_path / "old", tmp_path / "new")
    assert not found.rows
    assert "a quick run proves that it works" in str(found)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnusableInput, match="found none"):
        compare(tmp_path / "empty", tmp_path / "new")


def test_a_marked_figure_is_that_of_the_file(tmp_path: Path) -> None:
    """By the path in its JSON; a ratio brings its interval; what leads nowhere is refused."""
    write(result(), tmp_path / "one")
    (tmp_path / "study.json").write_text(json.dumps({"results": [{"arm": "pad", "top1": 0.83575}]}))
    at = "<!-- figure: one/preprocessing.json#figures/w185, 2 threads"
    text = f"{at}/keyart/units_per_s :,.1f -->9<!-- / --> and {at}/Pillow/ours_is_faster :.1f -->9<!-- / -->"
    shown = quoted(text, tmp_path)
    assert ":,.1f -->50.0<!-- / -->" in shown
    assert ":.1f -->4.0 (4.0 to 4.0)<!-- / -->" in shown
    assert quoted(shown, tmp_path) == shown
    assert "-->83.6%<" in quoted("<!-- figure: study.json#results/arm=pad/top1 :.1% -->x<!-- / -->", tmp_path)
    with pytest.raises(UnusableInput, match="leads nowhere"):
        quoted(f"{at}/nobody/units_per_s :,.1f -->9<!-- / -->", tmp_path)


def test_documents_that_differ_from_the_results_are_told_and_mended(tmp_path: Path) -> None:
    """Marked figures and the page of all results alike."""
    results = tmp_path / "docs" / "results"
    write(result(), results / "one")
    mark = "<!-- figure: one/preprocessing.json#figures/w185, 2 threads/keyart/units_per_s :,.0f -->{}<!-- / -->"
    (tmp_path / "README.md").write_text(mark.format(9000))
    (tmp_path / "docs" / "benchmarks.md").write_text("# Benchmarks\n")
    assert len(check(tmp_path)) == 2
    assert check(tmp_path, write=True) == check(tmp_path) == []
    assert (tmp_path / "README.md").read_text() == mark.format(50)
