"""A chart is well-formed, says in words what it shows, and its lengths are the values."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from serving.charts import bars, heat_map, histogram, lines

NAMES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=12)


def parsed(chart: str) -> ET.Element:
    """The chart as a tree; raises where it is not well-formed."""
    return ET.fromstring(chart)


@given(st.dictionaries(NAMES, st.floats(0, 1e6), min_size=1, max_size=8))
def test_bars_are_as_long_as_their_values(values: dict[str, float]) -> None:
    """The longest bar is the largest value's, and every name and value is in the description."""
    tree = parsed(bars("Counts", values))
    widths = [float(shape.get("width", "0")) for shape in tree.findall("rect")]
    assert len(widths) == len(values)
    order = sorted(range(len(values)), key=list(values.values()).__getitem__)
    assert [widths[index] for index in order] == sorted(widths)
    description = tree.findtext("desc") or ""
    assert all(f"{name} {value:,.0f}" in description for name, value in values.items())


@given(st.lists(st.lists(st.integers(0, 500), min_size=3, max_size=3), min_size=3, max_size=3))
def test_heat_map_shows_every_count(counts: list[list[int]]) -> None:
    """Every count but 0 is written in its cell; the description states how many are right."""
    tree = parsed(heat_map("Confusion", ["a", "<b>", "c&d"], counts))
    written = [text.text for text in tree.findall("text")]
    for count in (count for across in counts for count in across if count):
        assert str(count) in written
    right = sum(counts[index][index] for index in range(3))
    assert (tree.findtext("desc") or "").startswith(f"{right} of {sum(map(sum, counts))} posters")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 30))
def test_lines_stay_inside_the_chart(values: list[float], mark: int) -> None:
    """Every point lies inside the drawing, for one epoch as for many, and with an outlier."""
    tree = parsed(
        lines("Loss", {"training": values, "validation": [50.0, *values[1:]]}, share=False, mark=min(mark, len(values)))
    )
    _, _, width, height = (float(number) for number in (tree.get("viewBox") or "").split())
    for line in tree.findall("polyline"):
        for point in (line.get("points") or "").split():
            x, y = (float(number) for number in point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=20))
def test_histogram_has_a_bar_for_each_part(counts: list[int]) -> None:
    """As many bars as parts, none of negative height, the largest part the highest bar."""
    heights = [float(shape.get("height", "0")) for shape in parsed(histogram("Probability", counts)).findall("rect")]
    assert len(heights) == len(counts)
    assert min(heights) >= 0
    assert heights[counts.index(max(counts))] == max(heights)
