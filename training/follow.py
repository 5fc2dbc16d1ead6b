"""What workers write of where they stand -> a progress bar of the process that started them."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

    from crawler.progress import Advance
    from training.run_folder import RunFolder

POLL_S: Final = 0.3
"""How often the driver looks at where the workers stand."""


@contextmanager
def followed(folder: RunFolder, advance: Advance) -> Generator[None]:
    """Pass on where the workers stand, as they write it, while the block runs."""
    ended = threading.Event()
    told = 0

    def tell() -> None:
        nonlocal told
        try:
            standing = json.loads(folder.progress.read_text())
        except FileNotFoundError:
            return
        note = (
            f"epoch {standing['epoch']}/{standing['epochs']}, loss {standing['loss']:.3f}, "
            f"{standing['images_per_s']:.0f} posters/s, {standing['data_wait']:.1%} waiting, "
            f"{standing['peak_memory_mb']} MB"
        )
        advance(max(0, standing["posters"] - told), note)
        told = max(told, standing["posters"])

    def follow() -> None:
        while not ended.wait(POLL_S):
            tell()

    thread = threading.Thread(target=follow, name="follow-training", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        folder.progress.unlink(missing_ok=True)
