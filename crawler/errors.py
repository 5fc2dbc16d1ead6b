"""The whole error tree of keyart.

KeyartError                  everything that the command line turns into one line
├── UnusableInput            the call or the input cannot be used: exit code 2
└── WorkFailed               the input was fine and the work failed: exit code 1

A failure of one poster is never an exception: it is a ``Failure`` (see ``crawler.records``).
An exception outside this tree is a bug.
"""

from __future__ import annotations


class KeyartError(Exception):
    """An error that a user can act on; its text is one line.

    The text names the thing, its value, what was expected, and what to do next.
    """

    exit_code = 1


class UnusableInput(KeyartError):
    """The call or the input is unusable; nothing was written."""

    exit_code = 2


class WorkFailed(KeyartError):
    """The work failed although the input was usable; what was finished stays valid."""

    exit_code = 1
