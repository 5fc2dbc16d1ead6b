"""`keyart bench ...`: thin skins over the modules that measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from benchmarks.ask import Wish, ask
from benchmarks.questions import QUESTIONS
from benchmarks.timing import ROUNDS

LISTED = "\n".join(f"* `{name}`: {question.line}" for name, question in QUESTIONS.items())

app = App(
    name="bench",
    help=f"Measure keyart beside its peers and its roof.\n\nQuestions:\n\n{LISTED}",
    help_format="markdown",
    result_action="return_value",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSummary:
    """What a benchmark found."""

    question: str
    verdict: list[str]
    files: list[str]
    disturbed: bool

    def __str__(self) -> str:
        """One screen."""
        lines = [self.question, *(f"  {sentence}" for sentence in self.verdict)]
        if self.disturbed:
            lines.append("  The machine was busy with other things: trust the ratios, not the rates.")
        return "\n".join([*lines, *(f"  wrote {path}" for path in self.files)])


@app.default
def bench(
    question: str,
    out: Path = Path("keyart-bench"),
    *,
    posters: Path | None = None,
    rounds: int = ROUNDS,
    threads: int | None = None,
    studies: Path | None = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
) -> BenchSummary:
    """Answer one question: measure keyart, its peers and the roof in shuffled rounds.

    Example: `keyart bench preprocessing results --posters posters/`

    Args:
        question: One of those above.
        out: Folder for the result as JSON, Parquet, Markdown and SVG.
        posters: Folder with JPEGs about 185 pixels wide; $KEYART_DATA/posters or drawn ones where left out.
        rounds: That count.
        threads: Processors to use; all that this process may use where left out.
        studies: Folder with results of `keyart experiment`, to set quality beside cost.
        quick: A few seconds: two rounds of few posters, without peers that need an environment of their own.
    """
    wish = Wish(rounds=rounds, quick=quick, posters=posters, threads=threads, studies=studies)
    result, files = ask(question, wish, out)
    return BenchSummary(
        question=result.title,
        verdict=list(result.findings.verdict),
        files=[str(path) for path in files],
        disturbed=bool(result.findings.disturbed),
    )
