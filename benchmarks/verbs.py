"""`keyart bench ...`: thin skins over the modules that measure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from benchmarks.ask import Wish, ask
from benchmarks.compare import Comparison, compare
from benchmarks.everything import Outcome, ask_all
from benchmarks.questions import QUESTIONS
from benchmarks.timing import ROUNDS
from crawler.errors import UnusableInput, WorkFailed

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
    quick: bool = False

    def __str__(self) -> str:
        """One screen."""
        lines = [self.question, *(f"  {sentence}" for sentence in self.verdict)]
        if self.quick:
            lines.append("  A quick run proves that it works; its figures mean nothing.")
        elif self.disturbed:
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
        quick: A few seconds: one round of few posters, without peers that need an environment of their own.
    """
    wish = Wish(rounds=rounds, quick=quick, posters=posters, threads=threads, studies=studies)
    result, files = ask(question, wish, out)
    return BenchSummary(
        question=result.title,
        verdict=list(result.findings.verdict),
        files=[str(path) for path in files],
        disturbed=bool(result.findings.disturbed),
        quick=quick,
    )


@app.command(name="all")
def everything(
    out: Path = Path("keyart-bench"),
    *,
    budget: float = 60,
    page: Path | None = None,
    questions: list[str] | None = None,
    posters: Path | None = None,
    rounds: int = ROUNDS,
    threads: int | None = None,
    studies: Path | None = None,
    quick: Annotated[bool, Parameter(negative="")] = False,
    again: Annotated[bool, Parameter(negative="")] = False,
) -> Outcome:
    """Answer all questions that fit into a budget, and lay the page of all results out.

    The same command goes on where it stopped: what was answered is not asked again.

    Example: `keyart bench all docs/results --budget 45 --page docs/benchmarks.md`

    Args:
        out: Folder for a folder of results for each machine.
        budget: Minutes; a question that would not end in time is not begun.
        page: Where the page goes; benchmarks.md in the folder of results where left out.
        questions: Only these, in this order.
        posters: Folder with JPEGs about 185 pixels wide; $KEYART_DATA/posters or drawn ones where left out.
        rounds: That count.
        threads: Processors to use; all that this process may use where left out.
        studies: Folder with results of `keyart experiment`, to set quality beside cost; the folder of results where
            left out.
        quick: A few seconds a question, to prove that everything works.
        again: Ask what was answered before as well.
    """
    unknown = [name for name in questions or () if name not in QUESTIONS]
    if unknown:
        msg = f"question {unknown[0]}: expected one of {', '.join(QUESTIONS)}"
        raise UnusableInput(msg)
    wish = Wish(rounds=rounds, quick=quick, posters=posters, threads=threads, studies=studies or out)
    outcome = ask_all(questions or list(QUESTIONS), wish, out, page, budget_minutes=budget, again=again)
    if outcome.failed:
        msg = f"questions {', '.join(outcome.failed)}: failed, see above; the others are in {outcome.folder}"
        raise WorkFailed(msg)
    return outcome


@app.command(name="compare")
def compare_runs(old: Path, new: Path, /) -> Comparison:
    """Say what got slower beyond the noise between two runs, as shares of each run's own roof.

    Ends with exit code 1 if anything did.

    Example: `keyart bench compare docs/results keyart-bench`

    Args:
        old: Folder with the earlier results.
        new: Folder with the later ones.
    """
    comparison = compare(old, new)
    if comparison.slower:
        msg = f"compared with {old}: {'; '.join(map(str, comparison.slower))}"
        raise WorkFailed(msg)
    return comparison
