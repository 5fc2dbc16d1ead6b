"""Sections -> one HTML file that needs nothing outside itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

STYLE: Final = """
:root{color-scheme:light dark;--paper:#fbfbf9;--card:#fff;--ink:#1b1f24;--soft:#59626d;--rule:#d8dce1;
--one:#2c6cb0;--two:#b8541a;--three:#5b7f2b;--bad:#b3261e;--good:#1d7a46;--on:#fff}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1c2026;--ink:#e9ebee;--soft:#a3adb8;--rule:#353c45;
--one:#6aa7e8;--two:#e58f57;--three:#9fc46b;--bad:#ff8a80;--good:#6fd39b;--on:#10131a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:62rem;padding:1.2rem 1rem 3rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.6rem;line-height:1.2;margin:.2rem 0}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
h3{font-size:1rem;margin:0 0 .3rem}p{margin:.4rem 0;max-width:46rem}.soft{color:var(--soft)}
.lead{font-size:1.15rem}.lead b{font-size:1.5rem}
.columns{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,21rem),1fr))}
.card{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:.8rem;min-width:0}
svg{display:block;width:100%;height:auto;max-width:34rem}svg text{font:12px system-ui,sans-serif}
svg text.small{font-size:10px}text.ink{fill:var(--ink)}text.soft{fill:var(--soft)}text.on{fill:var(--on)}
.one{fill:var(--one)}.two{fill:var(--two)}.three{fill:var(--three)}.bad{fill:var(--bad)}.cell{fill:var(--rule);fill-opacity:.35}
.tone{fill:var(--one)}.ttwo{fill:var(--two)}.tthree{fill:var(--three)}.rule{stroke:var(--rule)}
.line{fill:none;stroke-width:2}.line.one{stroke:var(--one)}.line.two{stroke:var(--two)}.line.three{stroke:var(--three)}
.mark{stroke:var(--soft);stroke-dasharray:3 3}
.posters{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr));padding:0;margin:0;list-style:none}
.posters img,.methods img{display:block;width:100%;height:auto;border-radius:4px;background:var(--rule)}
.posters li{font-size:.82rem;line-height:1.35;min-width:0;overflow-wrap:anywhere}
.methods{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr))}
figure{margin:0}figcaption{font-size:.85rem;color:var(--soft);margin-top:.3rem}
.right{color:var(--good)}.wrong{color:var(--bad)}
.meter{display:block;height:.35rem;border-radius:2px;background:var(--rule);overflow:hidden}
.meter i{display:block;height:100%;background:var(--one)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--rule);vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
code{font:0.9em ui-monospace,monospace;overflow-wrap:anywhere}
"""

HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1><p class="soft">{subtitle}</p></header>
<main>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page under a heading of its own."""

    heading: str
    body: str
    """HTML; whatever came from a file is escaped in it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """All that a page says."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    posters: int
    """That it is about."""


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """Put sections into one page.

    Args:
        title: Plain text.
        subtitle: Plain text.
        sections: In their order.
    """
    head = HEAD.format(title=escape(title), subtitle=escape(subtitle), style=STYLE)
    body = "".join(f"<section><h2>{escape(part.heading)}</h2>\n{part.body}\n</section>\n" for part in sections)
    return f"{head}{body}</main>\n</body>\n</html>\n"


def card(heading: str, body: str) -> str:
    """Frame a chart or a table."""
    return f'<div class="card"><h3>{escape(heading)}</h3>{body}</div>'


def columns(cards: Iterable[str]) -> str:
    """Stand cards side by side where there is room, one under another on a phone."""
    return f'<div class="columns">{"".join(cards)}</div>'


def paragraph(text: str, kind: str = "") -> str:
    """Turn plain text into a paragraph."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a table of plain values; numbers stand to the right."""

    def cell(value: object, tag: str = "td") -> str:
        number = isinstance(value, int | float)
        text = f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if isinstance(value, float) else str(value)
        return f"<{tag}{' class=n' if number else ''}>{escape(text)}</{tag}>"

    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in rows)
    top = "".join(cell(name, "th") for name in head)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def write_page(path: Path, text: str) -> None:
    """Write a page so that it is there whole or not at all.

    Raises:
        OSError: The folder is missing or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
