"""The few draws of numpy's `RandomState` that published code fixed its patterns with, to the bit.

Both numpy and Python run the Mersenne Twister (Matsumoto and Nishimura 1998, https://doi.org/10.1145/272991.272995); they differ in how an integer
becomes its state and in how a draw below a bound is made.
"""

import random
from collections.abc import Sequence

STATE_WORDS = 624


class LegacyRandom:
    """What `numpy.random.seed(seed)` starts; seeds are at least 0 and below 2^32."""

    def __init__(self, seed: int) -> None:
        words = [seed]
        for i in range(1, STATE_WORDS):
            words.append((1812433253 * (words[-1] ^ (words[-1] >> 30)) + i) % 2**32)
        self._twister = random.Random()
        self._twister.setstate((3, (*words, STATE_WORDS), None))

    def permutation(self, items: Sequence[int]) -> list[int]:
        """The items in random order, as `numpy.random.permutation` gives them."""
        shuffled = list(items)
        for last in range(len(shuffled) - 1, 0, -1):
            other = self._at_most(last)
            shuffled[last], shuffled[other] = shuffled[other], shuffled[last]
        return shuffled

    def _at_most(self, bound: int) -> int:
        """A whole number from 0 to `bound`: as many bits as it has, drawn again until they fit. Each draw takes 32 bits and keeps the lowest."""
        kept = (1 << bound.bit_length()) - 1
        while (drawn := self._twister.getrandbits(32) & kept) > bound:
            pass
        return drawn
