"""Count what a network reads: validation chooses, the test digits and MNIST's own test images judge."""

from functools import cache

from torch import nn

import compresslab as cl
from compresslab import data
from compresslab.errors import DataError
from compresslab.training import ImageData, Split


@cache
def second_judge() -> Split | None:
    """Return MNIST's own test images, where they are present; the book's digits are other ones."""
    try:
        return data.mnist().test
    except DataError:
        return None


def judges(digits: ImageData) -> dict[str, Split]:
    """Return the images that chose nothing: the test digits, and the second judge's if they are present."""
    whole = second_judge()
    return {"test": digits.test} | ({} if whole is None else {"mnist": whole})


def right(network: nn.Module, digits: ImageData) -> dict[str, int]:
    """Count the images that are read rightly: of validation, and of each judge."""
    splits = {"validation": digits.validation} | judges(digits)
    return {name: cl.evaluate(network, split).correct for name, split in splits.items()}
