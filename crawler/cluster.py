"""Shard plans over Ray -> a report. The only file of this package that knows Ray."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # CPU tasks may see the GPU; Ray's coming default

import ray

if TYPE_CHECKING:
    from collections.abc import Generator

OBJECT_STORE_BYTES: Final = 256 * 2**20
"""Of a Ray that we start ourselves: plans and receipts are small, poster bytes never enter it."""


@contextmanager
def connected(cpus: int | None = None) -> Generator[None]:
    """Be connected to Ray while the block runs.

    A connection that exists is used and left alone. ``RAY_ADDRESS`` joins that cluster. Otherwise a Ray of our own
    starts on this machine and ends with the block.

    Args:
        cpus: Logical CPUs of a Ray of our own; None means as many as the machine has.
    """
    if ray.is_initialized():
        yield
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            num_cpus=cpus,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield
    finally:
        ray.shutdown()
