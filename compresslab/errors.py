"""The errors of the package: one base, few children, each saying what to do next."""


class CompressionError(ValueError):
    """Say what was asked, what was found and what to do.

    Every refusal of the package is one of these, so that one ``except`` catches them all.

    >>> issubclass(CompressionError, ValueError)
    True
    """


class FormatError(CompressionError):
    """A file is damaged, hostile, or not one of ours; nothing of it was used."""


class DataError(CompressionError):
    """A data set is not where it was looked for, or is not what it should be."""
