"""One bit after another: guesses are mixed into a probability, and the bit costs what that is worth.

All numbers are integers, so that every machine computes the same ones. A probability counts 65536ths.
Guesses are mixed as log-odds, in 256ths, where adding two guesses means adding their evidence. Whoever reads
does what the writer did, and takes each bit from the data: ``Reader`` is a ``Writer`` that is told nothing.
"""

import math
from collections.abc import Hashable, Sequence
from functools import cache
from operator import mul

import numpy as np

from compresslab.errors import FormatError

ONE = 1 << 16  # the probability 1
UNIT, REACH = 256, 12  # parts of a log-odd, and the largest log-odds
SURE = 1 << 5  # no bit is more certain than this many 65536ths
_FINE = 6  # bits by which a state is finer than a probability
_LOW = 1 << 32  # the range of the code stays above
_END = UNIT * REACH
_WEIGHT, _RATE = ONE // 5, 82  # of a guess at first; by how much it learns, a 50th for errors and odds of 1
_LIMIT = 255  # a state that was asked more often moves no less
_SHARES = [ONE // (n + 2) for n in range(_LIMIT + 1)]  # by which the n-th answer moves a state
_TRUST = [ONE * n // (n + 1) for n in range(_LIMIT + 1)]

Squash = tuple[list[int], list[int]]


@cache
def tables() -> Squash:
    """Return the probabilities of log-odds from ``-REACH`` on, and the log-odds of all probabilities.

    The first is ``ONE / (1 + exp(-x / UNIT))``, rounded; the exponential comes from its series, in integers
    with 64 bits after the point. The second holds the largest log-odds whose probability is not above.

    >>> squash, stretch = tables()
    >>> squash[_END], squash[_END + UNIT], stretch[ONE // 2]
    (32768, 47911, 0)
    """
    one = term = step = 1 << 64
    for place in range(1, 12):
        term //= place * UNIT
        step += term
    powers, power = [], one
    for _ in range(_END + 1):
        powers.append((2 * ONE * power + power + one) // (2 * (power + one)))
        power = power * step >> 64
    squash = [ONE - value for value in powers[:0:-1]] + powers
    stretch = np.searchsorted(squash, np.arange(ONE), side="right") - 1 - _END
    return squash, stretch.clip(-_END).tolist()


class Writer:
    """Write bits, each with its probability, as one long number below 1.

    Every bit cuts the interval that is left, ``low`` and ``range``, in two. Bytes that are settled go out; a
    carry may still change them.

    Source: Rissanen, IBM Journal of Research and Development 20(3), 1976; the bytes as in Martin, 1979.
    """

    def __init__(self) -> None:
        self.out, self.low, self.range = bytearray(), 0, _LOW << 8

    def code(self, bit: int, chance: int) -> int:
        """Write a bit whose chance to be 1 is so many 65536ths, and return it."""
        part = self.range * chance >> 16
        if bit:
            self.range = part
        else:
            self.range -= part
            self.low += part
        while self.range < _LOW:
            self._put_out()
            self.range <<= 8
        return bit

    def _put_out(self) -> None:
        """Put out the highest byte, after what is carried from it to those before."""
        byte, self.low = self.low >> 32, (self.low & _LOW - 1) << 8
        at = len(self.out) - 1
        while byte > 255:
            byte -= 256
            while self.out[at] == 255:
                self.out[at], at = 0, at - 1
            self.out[at] += 1
        self.out.append(byte)

    def finish(self) -> bytes:
        """Return the shortest number in the interval; the zeros at its end are left out."""
        for kept in range(6):
            mask = (1 << 8 * (5 - kept)) - 1
            if (value := (self.low + mask) & ~mask) < self.low + self.range:
                break
        self.low = value
        for _ in range(5):
            self._put_out()
        return bytes(self.out.rstrip(b"\0"))


class Reader(Writer):
    """Read the bits that a ``Writer`` wrote; bytes beyond the end are zeros."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data, self.at = data, 5
        self.above = int.from_bytes(data[:5].ljust(5, b"\0"), "big")  # how far the number lies above low

    def code(self, bit: int, chance: int) -> int:
        part = self.range * chance >> 16
        bit = int(self.above < part)
        if not bit:
            self.above -= part
        return super().code(bit, chance)

    def _put_out(self) -> None:
        super()._put_out()
        self.above = self.above << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
        self.at += 1


class Mixer:
    """Guess the next bit from what followed the same contexts before, mix the guesses, and learn.

    A context's state is how likely a 1 is, and how often it was asked: the first answers move it most. The
    first context of a bit is the broadest, and where a new one starts. Its log-odds count as they are; those
    of the others by how far they lie from it, less where a context was asked rarely, times a weight. The
    weights, a set for each kind of bit, follow the gradient of the code length.

    Source: Mahoney, Adaptive Weighing of Context Models, Florida Tech CS-2005-16, section 3.

    Args:
        coder: where the bits go to, or come from.
        most_bits: how many there may be.
    """

    def __init__(self, coder: Writer, most_bits: float = math.inf) -> None:
        self.coder, self.most_bits, self.bits, self.cost = coder, most_bits, 0, 0.0
        self.states: dict[Hashable, list[int]] = {}
        self.weights: dict[Hashable, list[int]] = {}
        self.squash, self.stretch = tables()

    def code(self, bit: int, kind: Hashable, contexts: Sequence[Hashable], first: int) -> int:
        """Code a bit, and return it.

        Args:
            bit: 0 or 1; whatever, if the coder reads.
            kind: whose weights mix the guesses.
            contexts: the broadest first.
            first: the chance that it gives when it is new, in 65536ths.

        Raises:
            FormatError: there are too many bits.
        """
        states, stretch = self.states, self.stretch
        found = [state := states.setdefault(contexts[0], [first << _FINE, 0])]
        base, broad = state[0], stretch[state[0] >> _FINE]
        odds = [broad]
        for context in contexts[1:]:
            if (state := states.get(context)) is None:
                state = states[context] = [base, 0]
            found.append(state)
            odds.append((stretch[state[0] >> _FINE] - broad) * _TRUST[state[1]] >> 16)
        if (weights := self.weights.get(kind)) is None:
            weights = self.weights[kind] = [ONE, *[_WEIGHT] * (len(contexts) - 1)]
        mixed = sum(map(mul, weights, odds)) >> 16
        chance = self.squash[max(-_END, min(_END, mixed)) + _END]
        bit = self.coder.code(bit, chance := max(SURE, min(ONE - SURE, chance)))
        self._learn(bit, chance, found, odds, weights)
        return bit

    def _learn(
        self, bit: int, chance: int, states: list[list[int]], odds: list[int], weights: list[int]
    ) -> None:
        """Move states to what was seen, and weights to where they would have guessed it better."""
        error = ((bit << 16) - chance) * _RATE
        goal = ONE - 1 << _FINE if bit else 0
        for place, state in enumerate(states):
            weights[place] += error * odds[place] >> 20
            state[0] += (goal - state[0]) * _SHARES[state[1]] >> 16
            state[1] = min(state[1] + 1, _LIMIT)
        self.bits += 1
        self.cost -= math.log2((chance if bit else ONE - chance) / ONE)
        if self.bits > self.most_bits:
            raise FormatError(f"More than {self.most_bits:,.0f} bits were read; no file may have so many.")
