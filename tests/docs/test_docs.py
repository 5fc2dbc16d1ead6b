"""What the documents say can be typed, found and opened."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import keyart

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(path: Path) -> list[str]:
    """Every `keyart ...` line of the code blocks of a page."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
    joined = [block.replace("\\\n", " ") for block in blocks]
    return [line.strip() for block in joined for line in block.splitlines() if re.match(r"\s*(\$ )?keyart ", line)]


EVERY_COMMAND = [(path, line) for path in PAGES for line in commands(path)]


def calls() -> list[tuple[str, ...]]:
    """Every verb that can be called, such as `crawl` and `archive import`."""
    found: list[tuple[str, ...]] = []
    for verb in keyart.VERBS:
        group = keyart.app[verb]
        found += [(verb,)] if group.default_command else []
        found += [(verb, name) for name in group if not name.startswith("-")]
    return found


def check_parses(line: str) -> None:
    """Bind a command line to its function, as the command does before it runs."""
    words = [word for word in shlex.split(line.removeprefix("$ "), comments=True)[1:] if word != "--json"]
    if not words[0].startswith("--"):  # help and version
        keyart.app.parse_args(words, exit_on_error=False, print_error=False)


def test_every_verb_has_a_section_with_an_example() -> None:
    """docs/commands.md has a heading for each verb, and under it a command for each way to call it."""
    text = (ROOT / "docs" / "commands.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(sections) == set(keyart.VERBS)
    for words in calls():
        assert re.search(rf"^keyart {' '.join(words)}\b", sections[words[0]], re.MULTILINE), words


@pytest.mark.filterwarnings("ignore:Cyclopts")
@pytest.mark.parametrize(("path", "line"), EVERY_COMMAND, ids=[f"{path.stem}: {line}" for path, line in EVERY_COMMAND])
def test_every_command_in_the_documents_parses(path: Path, line: str) -> None:
    """A reader who copies a command gets no error about its options."""
    check_parses(line)


@pytest.mark.filterwarnings("ignore:Cyclopts")
def test_every_verb_has_an_example_in_its_docstring() -> None:
    """Each verb's function, whose docstring is its help, shows a command of that verb, and it parses."""
    for words in calls():
        app = keyart.app
        for word in words:
            app = app[word]
        example = re.search(rf"Example: `(keyart {' '.join(words)}\b[^`]*)`", app.default_command.__doc__)
        assert example is not None, words
        check_parses(example[1])


def test_help_shows_the_docstring() -> None:
    """`keyart VERB --help` explains each parameter and shows the example."""
    command = [sys.executable, "-m", "keyart", "crawl", "--help"]
    text = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "Example: keyart crawl catalog.parquet -o archive" in text
    assert "Requests per second over all workers" in text


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_every_link_leads_somewhere(path: Path) -> None:
    """Links and pictures of a page are there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_decisions_have_their_three_parts_and_half_a_page() -> None:
    """Each decision states context, choice and what was refused, in at most 360 words."""
    for path in sorted((ROOT / "docs" / "decisions").glob("0*.md")):
        text = path.read_text()
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Choice", "Refused"], path.name
        assert len(text.split()) <= 360, path.name
