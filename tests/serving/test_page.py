"""The page at / in a real Chromium: upload, result, error, heat map, several at once, keyboard and screen reader."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.serving.browser import Browser
from tests.serving.posters import VOCABULARY
from tests.serving.server import OPTIONS, Server, call

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs Debian's chromium and chromium-driver"),
]


@pytest.fixture(scope="module")
def address(port: int) -> str:
    """Where the page is."""
    return f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """One browser for this module."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, address: str) -> Browser:
    """The page, freshly opened."""
    chromium.open(address)
    return chromium


def test_chosen_poster_shows_its_square_its_bars_and_its_heat_map(page: Browser, posters: Path) -> None:
    """Labels stand with their share, the bar is as long as the share, and the status says the result aloud."""
    page.choose_files("#files", posters / "00.jpg")
    page.until("document.querySelectorAll('article').length === 1")
    labels = page.run("return [...document.querySelectorAll('th')].map(cell => cell.textContent)")
    assert sorted(labels) == sorted(VOCABULARY)
    assert page.until("document.querySelector('.picture img').naturalWidth") == 64
    shares = page.run("return [...document.querySelectorAll('.share')].map(cell => parseFloat(cell.textContent))")
    widths = page.run("return [...document.querySelectorAll('.fill')].map(bar => parseFloat(bar.style.width))")
    assert shares == widths == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)
    bright = "return [...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 224, 224).data]"
    reds = page.run(f"{bright}.filter((value, index) => index % 4 === 0)")
    assert min(reds) < 40
    assert max(reds) > 200
    assert labels[0] in page.run("return document.querySelector('[role=status]').textContent")
    assert page.complaints() == []


def test_heat_map_can_be_hidden(page: Browser, posters: Path) -> None:
    """The check box takes it away and brings it back."""
    page.choose_files("#files", posters / "01.jpg")
    page.until("document.querySelector('canvas')")
    shown = "getComputedStyle(document.querySelector('canvas')).display !== 'none'"
    assert page.run(f"return {shown}")
    page.run("document.querySelector('#heat').click()")
    assert not page.run(f"return {shown}")


def test_several_posters_each_have_their_result(page: Browser, posters: Path, tmp_path: Path) -> None:
    """One that is no image says so in its own place, and the others have their bars."""
    (tmp_path / "notes.jpg").write_text("no image")
    page.choose_files("#files", posters / "02.jpg", tmp_path / "notes.jpg", posters / "03.jpg")
    page.until("document.querySelectorAll('article').length === 3")
    assert page.run("return document.querySelectorAll('table').length") == 2
    error = page.run("return document.querySelector('li:nth-child(2) .error').textContent")
    assert error == "This is no JPEG, PNG or WebP image."
    assert page.run("return document.querySelector('#status').textContent") == "2 of 3 posters scored"


def test_too_many_posters_are_an_error_in_words(page: Browser, posters: Path) -> None:
    """What the server refuses is shown where the status stands."""
    page.choose_files("#files", *(posters / f"0{index}.jpg" for index in range(5)))
    assert "Too many files" in page.until("document.querySelector('#status .error')?.textContent")


def test_dropped_poster_is_scored(page: Browser) -> None:
    """A drop does what choosing does."""
    page.run("""
        const canvas = document.createElement("canvas");
        canvas.getContext("2d").fillRect(0, 0, 20, 20);
        canvas.toBlob(blob => {
            const carried = new DataTransfer();
            carried.items.add(new File([blob], "dropped.png", {type: "image/png"}));
            const drop = new DragEvent("drop", {dataTransfer: carried, bubbles: true});
            document.querySelector("#drop").dispatchEvent(drop);
        })""")
    page.until("document.querySelector('article h2')?.textContent === 'dropped.png'")


def test_page_works_by_keyboard_and_for_a_screen_reader(page: Browser, posters: Path) -> None:
    """The first tab stop is the file choice, with a name; results, status and picture have roles and names."""
    page.press("\ue004")
    assert page.until("document.activeElement.id") == "files"
    assert page.role_and_name("#files")[1].startswith("Drop posters here, or choose them")
    page.press("\ue004")
    page.until("document.activeElement.id !== 'files'")
    assert page.until("document.activeElement.id") == "heat"
    page.choose_files("#files", posters / "05.jpg")
    page.until("document.querySelector('article')")
    assert page.role_and_name("#results") == ("list", "Results")
    assert page.role_and_name("#status")[0] == "status"
    assert page.role_and_name("canvas")[1].startswith("Heat map")
    assert page.role_and_name(".picture img")[1].startswith("The square that the network sees")


def test_page_fits_a_phone(address: str, posters: Path) -> None:
    """On a narrow screen nothing sticks out to the side."""
    with Browser(width=390, height=800) as phone:
        phone.open(address)
        phone.choose_files("#files", posters / "06.jpg")
        phone.until("document.querySelector('article')")
        assert phone.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_chance_of_earning_the_budget_back_stands_below_the_bars(
    chromium: Browser, model: Path, box_office: Path, posters: Path
) -> None:
    """With a second model of the box office, its probability of doing well is a sentence of its own."""
    with Server(model, replace(OPTIONS, also=box_office)) as port:
        chromium.open(f"http://127.0.0.1:{port}/")
        chromium.choose_files("#files", posters / "07.jpg")
        text = chromium.until("document.querySelector('.also')?.textContent")
        body = (posters / "07.jpg").read_bytes()
        _, answer, _ = call(port, "/v1/predict?probabilities=true", body, content_type="image/jpeg")
    also = answer["predictions"][0]["also"]
    assert also["task"] == "box-office"
    assert list(also["probabilities"].values()) == list(answer["predictions"][0]["probabilities"].values())
    assert text == f"Chance of earning its budget back: {100 * also['probabilities']['did well']:.1f} %"
