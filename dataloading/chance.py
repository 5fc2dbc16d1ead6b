"""(seed, epoch, movie_id) -> random numbers that depend on nothing else: no state, no order, no worker.

Source: the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014),
applied to a counter, so that any number of the sequence is had without the ones before it.
"""

from __future__ import annotations

from typing import Final

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = (1 << 64) - 1


def mix(value: int) -> int:
    """Scramble 64 bits so that neighbouring values have nothing in common.

    Returns:
        0 to 2**64 - 1; a bijection.
    """
    value &= _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Chance:
    """The random numbers of one movie in one epoch, in order.

    Example:
        >>> Chance(seed=0, epoch=3, movie_id=862).below(6) == Chance(seed=0, epoch=3, movie_id=862).below(6)
        True
    """

    __slots__ = ("_key", "_taken")

    def __init__(self, *, seed: int, epoch: int, movie_id: int) -> None:
        self._key = mix(mix(mix(seed + _GOLDEN) + epoch + _GOLDEN) + movie_id)
        self._taken = 0

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Take a number from ``low`` to below ``high``."""
        self._taken += 1
        return low + (high - low) * (mix(self._key + self._taken * _GOLDEN) >> 11) * 2.0**-53

    def below(self, count: int) -> int:
        """Take a whole number from 0 to ``count - 1``."""
        return int(self.uniform() * count)
