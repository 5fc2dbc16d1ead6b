"""The command: verbs registered as "package.module:function". Nothing imports this module."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from typing import Annotated, Any, Final

from cyclopts import App, CycloptsError, Parameter

from crawler.errors import KeyartError

VERBS: Final = {
    "catalog": ("crawler.verbs:catalog", "Clean raw movie metadata into a catalogue."),
    "crawl": ("crawler.verbs:crawl", "Fetch a catalogue's posters into an archive of shards."),
    "archive": ("dataloading.verbs:archive", "Check, count, thin out or import an archive of shards."),
    "dataset": ("dataloading.verbs:dataset", "Label, group and split an archive's posters for one task."),
    "train": ("training.verbs:train", "Train one recipe on a dataset."),
    "experiment": ("training.verbs:experiment", "Run a grid of recipes and seeds, and compare them."),
    "export": ("serving.verbs:export", "Compile a run's best checkpoint into an engine."),
    "score": ("serving.verbs:score", "Score an archive or a folder of posters, one row each."),
    "serve": ("serving.verbs:serve", "Serve a model over HTTP, with a page to try it."),
    "report": ("serving.verbs:report", "Draw a run or predictions as one HTML file."),
    "demo": ("serving.verbs:demo", "The whole journey in one command, on drawn or real posters."),
    "bench": ("benchmarks.verbs:app", "Measure keyart beside its peers and its roof."),
    "doctor": ("serving.verbs:doctor", "Say what is installed, which engines work, and what is missing."),
}
"""Verb -> where its function lives, and its line in the overview (so that `--help` need not import torch)."""

app = App(
    name="keyart",
    help="Turn movie posters into predictions: catalog, crawl, dataset, train, export, score, report.",
    help_epilogue="Start with `keyart demo`; `keyart VERB --help` shows an example of each.",
    help_format="markdown",
    result_action="return_value",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # main says how to go on
)
app.meta.suppress_keyboard_interrupt = False
for _verb, (_target, _line) in VERBS.items():
    # A verb that is called shows its whole docstring, example included; the others are not imported for one line each.
    app.command(_target, name=_verb, help=None if _verb in sys.argv else _line)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    json_summary: Annotated[bool, Parameter(name="--json", negative="")] = False,
    verbose: Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")] = False,
) -> None:
    """Run one verb.

    Args:
        tokens: The verb and its arguments.
        json_summary: End with a one-line JSON summary on stdout instead of text.
        verbose: Log every step to stderr.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
    )
    summary: Any = app(tokens, exit_on_error=False, print_error=False)
    if summary is None:
        return
    sys.stdout.write((_to_json(summary) if json_summary else str(summary)) + "\n")


def main() -> None:
    """Run the command line and exit: 0 done, 1 the work failed, 2 the call or the input is unusable."""
    try:
        app.meta(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(str(error), exit_code=2)
    except KeyartError as error:
        _fail(str(error), exit_code=error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away; say nothing more
        sys.exit(1)
    except KeyboardInterrupt:
        _fail("interrupted; the same command again goes on where it stopped", exit_code=130)


def _to_json(summary: Any) -> str:
    return json.dumps(dataclasses.asdict(summary), default=str, separators=(",", ":"))


def _fail(text: str, exit_code: int) -> None:
    sys.stderr.write(f"keyart: {' '.join(text.split())}\n")
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
