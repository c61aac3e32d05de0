"""Write small integers, mostly zeros, in the fewest bytes: each bit is guessed from all that is near it.

A value is a row of bits: is it zero, is it negative, is its magnitude above 1, above 2, and so on. Each is
coded with a probability that ``logistic`` mixes from several contexts: the tensor, its row, its column, the
neighbours in the row and above, and where a kernel or a map ends, the place in it. Nothing is stored beside
the bits; all that is known of them is learned on the way.

It takes about 10 microseconds for each bit: this is for networks of thousands of weights, not of millions.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Integer

from compresslab.coding.logistic import ONE, Mixer, Reader, Writer
from compresslab.errors import CompressionError, FormatError

LARGEST = 127  # magnitude of an integer
BIT, BYTES = 10, 1000  # microseconds for a bit, on a core of 2020; working space for a value
_COUNTED = 17  # magnitudes that are counted up to; a larger one is followed by seven bits
_REST = range((LARGEST - _COUNTED).bit_length() - 1, -1, -1)
_SEEN = 3 * ONE // 10  # of new contexts: three values in ten are not zero, three in ten of these above 1

Tensors = Sequence[Integer[np.ndarray, "..."]]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mixed:
    """Hold tensors as one number.

    Args:
        data: the number.
        lengths: bytes that were settled within each tensor; they add up to the whole.
        bits: how many bits were coded, which says how long it takes to read them.
        cost: what these bits are worth, the sum of log2(1 / probability).
    """

    data: bytes
    lengths: tuple[int, ...]
    bits: int
    cost: float


def encode(tensors: Tensors) -> Mixed:
    """Write integers from -127 to 127, all tensors as one number.

    Args:
        tensors: weights of layers in the order in which they compute, each followed by its bias if it has
            one. A bias has one axis.

    Raises:
        CompressionError: an integer is larger, or a tensor is empty.

    Source: context mixing after Mahoney, Florida Tech CS-2005-16; the contexts are this book's.
    Chapter: 23.

    >>> sparse = np.zeros((20, 50), dtype=np.int8)
    >>> sparse[::7, ::5] = 1  # 30 of 1000, in a pattern
    >>> len(encode([sparse]).data)
    28
    """
    for tensor in tensors:
        whole = tensor.size and tensor.ndim and np.issubdtype(tensor.dtype, np.integer)
        if not whole or np.abs(tensor.astype(int)).max() > LARGEST:
            raise CompressionError(
                f"Mixing is for tensors of whole numbers from {-LARGEST} to {LARGEST}; found shape "
                f"{tensor.shape} of {tensor.dtype}."
            )
    mixer = Mixer(coder := Writer())
    rows = [tensor.astype(int).reshape(len(tensor), -1).tolist() for tensor in tensors]
    ends = _walk(mixer, rows, [tensor.shape for tensor in tensors])
    data = coder.finish()
    return Mixed(data, _lengths(ends, len(data)), mixer.bits, mixer.cost)


def decode(
    data: bytes, shapes: Sequence[Shape], most_bits: float = math.inf
) -> tuple[list[Int8[np.ndarray, "..."]], tuple[int, ...]]:
    """Read tensors of these shapes back, and how many bytes were settled within each.

    Args:
        most_bits: how many bits to read before the data is refused.

    Raises:
        FormatError: the data is not what ``encode`` would have written, or has more bits.
    """
    mixer = Mixer(coder := Reader(data), most_bits)
    rows = [[[0] * math.prod(shape[1:]) for _ in range(shape[0])] for shape in shapes]
    ends = _walk(mixer, rows, shapes)
    if coder.finish() != data:
        raise FormatError("The mixed number is not the one that its integers are written as.")
    found = [
        np.array(values, dtype=np.int8).reshape(shape) for values, shape in zip(rows, shapes, strict=True)
    ]
    return found, _lengths(ends, len(data))


def _lengths(ends: list[int], size: int) -> tuple[int, ...]:
    return tuple(np.diff([0, *(min(end, size) for end in ends[:-1]), size]).tolist())


def sides(shapes: Sequence[Shape]) -> list[int]:
    """Say how wide the square is in which the columns of each tensor lie, map after map; 0 for a bias.

    A kernel is one. So is what a neuron reads of one map, where the layer before has maps, and what the first
    layer reads of an image. Else it is 1: columns without an order.

    >>> sides([(6, 1, 5, 5), (6,), (12, 6, 5, 5), (12,), (40, 192), (40,), (10, 40), (10,)])
    [5, 0, 5, 0, 4, 0, 1, 0]
    >>> sides([(60, 144), (60,), (40, 60)])
    [12, 0, 1]
    """
    found, before = [], 1
    for shape in shapes:
        if len(shape) == 1:
            found.append(0)
            continue
        maps = before if len(shape) == 2 else shape[1]
        size, rest = divmod(math.prod(shape[1:]), maps)
        root = math.isqrt(size)
        found.append(root if not rest and root * root == size else 1)
        before = shape[0]
    return found


class _Tensor:
    """Code one tensor's values.

    Contexts are named by the tensor's number, a word, and what they tell apart; weights by the sort of tensor
    (bias, without an order, in maps) and the kind of bit.
    """

    def __init__(self, mixer: Mixer, number: int, side: int) -> None:
        self.mixer, self.number, self.side = mixer, number, side

    def row(self, at: int, row: list[int], above: list[int]) -> None:
        """Code the values of a row, which may still be zeros where they are read."""
        if self.side > 1:
            self._in_maps(at, row, above)
        else:
            self._in_order(at, row, above)

    def _in_maps(self, at: int, row: list[int], above: list[int]) -> None:
        t, side = self.number, self.side
        for column, up in enumerate(above):
            one, place = divmod(column, side * side)  # the map, and the place in it
            y, x = divmod(place, side)
            left = row[column - 1] if x else 0
            before = row[column - 2] if x > 1 else 0
            over = row[column - side] if y else 0
            beside = row[column - side + 1] if y and x < side - 1 else 0
            corner = row[column - side - 1] if y and x else 0
            near = (left != 0) + (over != 0) + (beside != 0) + (before != 0)
            zero = [
                t,
                (t, "row", at),
                (t, "column", column),
                (t, "near", near, up != 0),
                (t, "map", one, left != 0),
                (t, "place", place),
                (t, "kernel", at, one),
                (t, "around", left != 0, over != 0, beside != 0, corner != 0),
            ]
            pull = 2 * left + 2 * over + beside + corner
            sign = [
                (t, "sign"),
                (t, "beside", (left > 0) - (left < 0), (over > 0) - (over < 0)),
                (t, "pull", max(-3, min(3, pull))),
            ]
            row[column] = self._value(row[column], zero, sign, min(abs(left) + abs(over), 4))

    def _in_order(self, at: int, row: list[int], above: list[int]) -> None:
        t, left = self.number, 0
        for column, up in enumerate(above):
            zero: list[Hashable] = [t]
            sign: list[Hashable] = [(t, "sign")]
            if self.side:
                zero += [(t, "row", at), (t, "column", column), (t, "near", left != 0, up != 0)]
                sign += [(t, "row sign", at), (t, "column sign", column)]
            left = row[column] = self._value(row[column], zero, sign, min(abs(up), 2) if self.side else 0)

    def _value(self, value: int, zero: Sequence[Hashable], sign: Sequence[Hashable], near: int) -> int:
        """Code a value: whether it is zero, its sign, its magnitude."""
        t, code, size, sort = self.number, self.mixer.code, abs(value), min(self.side, 2)
        if not code(value != 0, (sort, "zero"), zero, _SEEN):
            return 0
        negative = code(value < 0, (sort, "sign"), sign, ONE // 2)
        found = 1
        while found < _COUNTED and code(
            size > found,
            (sort, "size"),
            [(t, "size", min(found, 12)), (t, "size", min(found, 6), near)],
            _SEEN,
        ):
            found += 1
        if found == _COUNTED:
            rest = size - found
            found += sum(code(rest >> bit & 1, "rest", ["rest"], ONE // 2) << bit for bit in _REST)
            if found > LARGEST:
                raise FormatError(f"The mixed number holds {found}; integers end at {LARGEST}.")
        return -found if negative else found


def _walk(mixer: Mixer, tensors: list[list[list[int]]], shapes: Sequence[Shape]) -> list[int]:
    """Code all values in their order, and put each back where it stood; return where each tensor ended.

    Who reads comes with zeros and leaves with values: there is no second function that could differ.
    """
    ends = []
    for number, (rows, side) in enumerate(zip(tensors, sides(shapes), strict=True)):
        code = _Tensor(mixer, number, side)
        above = [0] * len(rows[0])
        for at, row in enumerate(rows):
            code.row(at, row, above)
            above = row
        ends.append(len(mixer.coder.out))
    return ends
