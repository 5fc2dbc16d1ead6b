"""Figures of a training -> TensorBoard event files in its RUN folder."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.run_folder import RunFolder

FOLDER: Final = "tensorboard"
"""Of a RUN folder; `tensorboard --logdir RUN` finds it."""


class Events:
    """Writes scalars under their step; what an interrupted training wrote past its last checkpoint is taken back."""

    def __init__(self, run: RunFolder, step: int) -> None:
        """Open a file.

        Args:
            run: Whose folder.
            step: Where the training begins or goes on; earlier events at or after it no longer count.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what tensorboard imports
            from torch.utils.tensorboard.writer import SummaryWriter  # noqa: PLC0415 - a second, for who trains alone
        self._writer = SummaryWriter(run.path / FOLDER, purge_step=step or None)

    def add(self, figures: Mapping[str, Any], step: int, *, prefix: str) -> None:
        """Write all numbers of a mapping as ``prefix/name``."""
        for name, value in figures.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
