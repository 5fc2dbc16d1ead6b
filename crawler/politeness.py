"""A rate -> the moment at which each request may be sent."""

from __future__ import annotations

import asyncio
import math


class Pacer:
    """Spaces requests evenly, so that no second ever holds more than the rate allows."""

    def __init__(self, rate_per_s: float) -> None:
        """Start now.

        Args:
            rate_per_s: Requests per second, above 0; infinity does not wait.
        """
        self._gap_s = 0.0 if math.isinf(rate_per_s) else 1 / rate_per_s
        self._next_s = 0.0

    async def __call__(self, _host: str) -> None:
        """Return when the next request may be sent; hosts share the rate."""
        if not self._gap_s:
            return
        now_s = asyncio.get_running_loop().time()
        slot_s = max(now_s, self._next_s)
        self._next_s = slot_s + self._gap_s
        if slot_s > now_s:
            await asyncio.sleep(slot_s - now_s)
