"""Marked figures in the documents -> the same figures as the result files have them, or a complaint.

A mark is an HTML comment, invisible on the page, before a figure and one behind it::

    <!-- figure: MACHINE/preprocessing.json#figures/w185, 2 threads, resize/Pillow/units_per_s :,.0f -->3,200<!-- / -->

The file lies under docs/results; the path behind # leads into its JSON, where ``key=value`` picks an entry of a list
and a number its place; the rest is a Python format, which a ratio applies to itself and to its interval. ``python -m
benchmarks.quoted`` fails when a figure, or the page of all results, is not what the files say; ``--write`` mends them.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.page import page
from crawler.errors import KeyartError, UnusableInput

ROOT: Final = Path(__file__).resolve().parents[1]
MARK: Final = re.compile(
    r"(?P<open><!-- figure: (?P<file>\S+)#(?P<path>.+?) :(?P<format>\S*) -->)(?P<shown>.*?)(?P<close><!-- / -->)"
)


def quoted(text: str, results: Path) -> str:
    """Replace every marked figure of a page.

    Args:
        text: Markdown.
        results: Folder that the marks' files are in.

    Raises:
        UnusableInput: A mark leads nowhere.
    """

    def replace(mark: re.Match[str]) -> str:
        return f"{mark['open']}{_figure(results, mark)}{mark['close']}"

    return MARK.sub(replace, text)


def check(root: Path, *, write: bool = False) -> list[str]:
    """Compare the documents of a checkout with its results.

    Args:
        root: Of the checkout.
        write: Mend them instead of complaining.

    Returns:
        A complaint for each page that differs.
    """
    results, overview = root / "docs" / "results", root / "docs" / "benchmarks.md"
    pages = {path: quoted(path.read_text(), results) for path in [root / "README.md", *(root / "docs").rglob("*.md")]}
    if overview.exists():
        pages[overview] = page(results, overview)
    complaints: list[str] = []
    for path, right in pages.items():
        if path.read_text() == right:
            continue
        if write:
            path.write_text(right)
        else:
            first = next(
                (
                    old
                    for old, new in zip(path.read_text().splitlines(), right.splitlines(), strict=False)
                    if old != new
                ),
                "its end",
            )
            complaints.append(f"{path.relative_to(root)}: {first.strip()[:160]}: not what docs/results says")
    return complaints


def _figure(results: Path, mark: re.Match[str]) -> str:
    try:
        found: Any = json.loads((results / mark["file"]).read_text())
        for step in mark["path"].split("/"):
            found = _step(found, step)
        if isinstance(found, dict) and {"value", "low", "high"} <= set(found):
            return "{} ({} to {})".format(*(format(found[key], mark["format"]) for key in ("value", "low", "high")))
        return format(found, mark["format"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        msg = f"figure {mark['file']}#{mark['path']}: leads nowhere ({error!r}); see benchmarks/quoted.py"
        raise UnusableInput(msg) from error


def _step(found: Any, step: str) -> Any:
    if isinstance(found, dict):
        return found[step]
    key, equals, value = step.partition("=")
    if equals:
        return next(one for one in found if str(one[key]) == value)
    return found[int(step)]


def main() -> int:
    """Check or mend this checkout."""
    try:
        complaints = check(ROOT, write="--write" in sys.argv)
    except KeyartError as error:
        complaints = [str(error)]
    if complaints:
        complaints.append("`python -m benchmarks.quoted --write` mends them")
    sys.stderr.write("".join(f"{line}\n" for line in complaints))
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
