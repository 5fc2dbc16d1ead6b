"""The report in real Chromium: it is laid out for a phone and a desk, by day and by night."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from crawler.drawn import draw_poster
from serving.charts import bars, heat_map, histogram, lines
from serving.page import Section, card, columns, page, table
from serving.pictures import Example, gallery, methods

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.browser

PROBE = """<!doctype html><title>probe</title>
<iframe id="page" src="report.html" style="width:{width}px;height:2000px;border:0"></iframe><pre id="found"></pre>
<script>
document.getElementById('page').onload = () => {{
  const inside = document.getElementById('page').contentDocument, root = inside.documentElement;
  const wide = [...inside.querySelectorAll('svg,img,table,p,h2')].filter(e => !e.closest('.wide'));
  document.getElementById('found').textContent = JSON.stringify({{
    scroll: root.scrollWidth,
    right: Math.max(...wide.map(e => e.getBoundingClientRect().right)),
    pictures: [...inside.images].every(i => i.complete && i.naturalWidth > 0),
    charts: [...inside.querySelectorAll('svg')].every(e => e.getBoundingClientRect().height > 40),
    cut: [...inside.querySelectorAll('svg text')].filter(t => {{
      const a = t.getBoundingClientRect(), b = t.closest('svg').getBoundingClientRect();
      return a.left < b.left - 1 || a.right > b.right + 1;
    }}).map(t => t.textContent),
  }});
}};
</script>
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser; installed where that is possible."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
            subprocess.run(command, check=False, capture_output=True, timeout=280)
        found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Chromium, and it cannot be installed here: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with one of everything that reports are made of, with long names and many labels."""
    labels = [
        "drama",
        "comedy",
        "action",
        "documentary",
        "horror",
        "crime",
        "thriller",
        "adventure",
        "romance",
        "animation",
    ]
    counts = np.random.default_rng(1).integers(0, 90, (10, 10)).tolist()
    body = draw_poster(seed=4, genre="Adventure", title="The Long Way Round", height=278, width=185)
    example = Example(
        body=body,
        title="A Title Without Any End In Sight (2001)",
        probabilities={"adventure": 0.7, "crime": 0.3},
        truth="crime",
    )
    values = [2.3, 1.4, 1.1, 0.9, 0.8]
    sections = [
        Section(
            heading="Charts",
            body=columns(
                [
                    card("Bars", bars("Bars", {name: 11.0 * len(name) for name in labels})),
                    card(
                        "Lines",
                        lines("Loss", {"training": values, "validation": [48.0, *values[1:]]}, share=False, mark=5),
                    ),
                    card("Right", lines("Right", {"top 1": [0.1, 0.5, 0.98], "top 3": [0.3, 0.8, 1.0]}, share=True)),
                    card("Heat map", heat_map("Confusion", labels, counts)),
                    card("Histogram", histogram("Probability", [0, 3, 1, 0, 9, 40, 2, 7, 11, 1200])),
                ]
            ),
        ),
        Section(heading="Methods", body=methods(body, pictures=True)),
        Section(heading="Posters", body=gallery([example] * 7)),
        Section(heading="Table", body=table(("name", *labels), [("a", *range(10))])),
    ]
    path = tmp_path_factory.mktemp("browser") / "report.html"
    path.write_text(page("Report", "of the tests", sections))
    return path


def browse(chromium: str, folder: Path, *options: str) -> str:
    """Run the browser to its end and return what it wrote."""
    always = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--allow-file-access-from-files")
    command = [chromium, *always, f"--user-data-dir={folder / 'profile'}", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("width", [340, 768, 1280])
def test_everything_fits_the_width(chromium: str, report: Path, tmp_path: Path, width: int) -> None:
    """From a small phone to a desk nothing is wider than the screen, every picture loads and no label is cut off."""
    probe = report.with_name(f"probe-{width}.html")
    probe.write_text(PROBE.format(width=width))
    dom = browse(chromium, tmp_path, "--virtual-time-budget=8000", "--dump-dom", probe.as_uri())
    text = re.search(r'<pre id="found">(\{.*?\})</pre>', dom)
    assert text is not None, dom[-500:]
    found = json.loads(text[1].replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert found["scroll"] <= width
    assert found["right"] <= width
    assert found["pictures"]
    assert found["charts"]
    assert found["cut"] == []


def test_light_and_dark_are_both_readable(chromium: str, report: Path, tmp_path: Path) -> None:
    """By day the page is light, by night dark; in both there is text that stands out from it."""
    levels: list[float] = []
    for scheme in (1, 0):  # Blink's names for light and dark
        shot = tmp_path / f"{scheme}.png"
        blink = f"--blink-settings=preferredColorScheme={scheme}"
        browse(chromium, tmp_path, blink, "--window-size=900,700", f"--screenshot={shot}", report.as_uri())
        with Image.open(io.BytesIO(shot.read_bytes())) as image:
            grey = np.asarray(image.convert("L"), dtype=float)
        levels.append(float(np.median(grey)))
        assert np.abs(grey - np.median(grey)).max() > 150
    assert levels[0] > 230
    assert levels[1] < 60
