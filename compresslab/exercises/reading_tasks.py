"""The functions that chapters 16 and 18 ask for: a test by turned signs, and reading Huffman's words."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement, product

from compresslab.exercises.answers import AnswerError
from compresslab.exercises.task import Task, in_any_order

# 16-3: how often turned signs give as large a sum

_DIFFERENCES = ([3, 5, 4, 6, 2], [3, -5, 4, 6, -2], [1, -1], [0, 0, 0], [7], [-4, -4, -5, -3, 1, -2])


def _signs(count: int, each: Sequence[int] = (1, -1)) -> list[tuple[int, ...]]:
    return list(product(each, repeat=count))


SIGNS_OF = Task(
    _signs,
    lambda: [(1,), (2,), (3,), (5,)],
    "Two signs for each of n places: 2 ** n rows.",
    [
        (lambda n: _signs(n, (0, 1)), "Zeros and ones; a sign is 1 or -1."),
        (lambda n: list(combinations_with_replacement((1, -1), n)), "The place counts, too: 2 ** n rows."),
        (lambda n: _signs(n)[1:], "All signs as they are is a choice, too."),
        (lambda n: _signs(n)[:-1], "All signs turned is a choice, too."),
        (lambda n: _signs(n)[: 2 ** (n - 1)], "Half of them are missing: the first sign turns, too."),
        (lambda n: _signs(n, (1, 0, -1)), "A difference keeps its size: no sign is 0."),
    ],
    ask=in_any_order,
)


def _sums(differences: Sequence[float]) -> list[float]:
    return [sum(s * d for s, d in zip(row, differences, strict=True)) for row in _signs(len(differences))]


def _one_turned(differences: Sequence[float]) -> list[float]:
    return [sum(differences), *(sum(differences) - 2 * one for one in differences)]


SUMS_OF = Task(
    _sums,
    lambda: [(one,) for one in _DIFFERENCES],
    "A sum for each row of signs.",
    [
        (lambda d: [abs(one) for one in _sums(d)], "Keep the signs of the sums; their size is taken later."),
        (lambda d: [one / len(d) for one in _sums(d)], "Those are means; sums were asked."),
        (lambda d: list(set(_sums(d))), "Equal sums count as often as they come."),
        (_one_turned, "Any number of signs is turned, not one at a time."),
        (lambda d: _sums([abs(one) for one in d])[: 2 ** (len(d) - 1)], "Half of the choices are missing."),
        (
            lambda d: [
                sum(one for keep, one in zip(row, d, strict=True) if keep > 0) for row in _signs(len(d))
            ],
            "A difference is turned, not left out.",
        ),
    ],
    ask=in_any_order,
)


def _chance(differences: Sequence[float]) -> float:
    sums, found = _sums(differences), abs(sum(differences))
    return sum(abs(one) >= found for one in sums) / len(sums)


CHANCE = Task(
    _chance,
    lambda: [(one,) for one in _DIFFERENCES],
    "Count the sums that are at least as far from 0 as the one found.",
    [
        (
            lambda d: sum(one >= sum(d) for one in _sums(d)) / 2 ** len(d),
            "Both sides count: a sum is far from 0 above and below.",
        ),
        (
            lambda d: sum(abs(one) > abs(sum(d)) for one in _sums(d)) / 2 ** len(d),
            "At least as far: the signs found count, too.",
        ),
        (lambda d: round(_chance(d) * 2 ** len(d)), "That is a count; divide by the choices."),
        (lambda d: 1 - _chance(d), "That is the share of those that are nearer to 0."),
        (
            lambda d: (_chance(d) * 2 ** len(d) - 1) / (2 ** len(d) - 1),
            "The signs as found are one of the choices; leave them in.",
        ),
        (
            lambda d: sum(abs(one) >= abs(sum(d)) for one in _one_turned(d)) / (len(d) + 1),
            "Any number of signs is turned, not one at a time.",
        ),
        (lambda d: _chance(d) / 2, "Both sides count; that is one."),
    ],
    within=1e-9,
)

# 18-3: words from their lengths, and symbols from words

_LENGTHS = ([1, 2, 3, 3], [2, 2, 2, 2], [3, 1, 0, 2, 3], [1, 1], [4, 4, 3, 0, 2, 2, 2])


def _words(lengths: Sequence[int], order: Callable = lambda n, s: (n, s), wider: bool = True) -> list[str]:
    """Count words up, shorter ones first, and widen the number where they get longer; or do it otherwise."""
    words, word, last = [""] * len(lengths), 0, 0
    for size, symbol in sorted(((n, s) for s, n in enumerate(lengths) if n), key=lambda one: order(*one)):
        word = word << size - last if wider and size > last else word
        words[symbol], word, last = f"{word:0{size}b}"[-size:], word + 1, size
    return words


WORDS = Task(
    _words,
    lambda: [(lengths,) for lengths in _LENGTHS],
    "Sort by length, then by symbol; count up, and put a 0 behind whenever words get longer.",
    [
        (
            lambda n: _words(n, wider=False),
            "Where words get longer, the next number is moved to the left: a 0 comes behind it.",
        ),
        (lambda n: _words(n, lambda size, s: s), "Shorter words come first, whatever their symbols are."),
        (
            lambda n: _words(n, lambda size, s: (size, -s)),
            "Words of one length are counted up in the order of their symbols.",
        ),
        (
            lambda n: [word.lstrip("0") or word[-1:] for word in _words(n)],
            "A word keeps the zeros in front: its length is given.",
        ),
        (lambda n: [word[::-1] for word in _words(n)], "The words are written from behind."),
        (lambda n: [word for word in _words(n) if word], "A symbol without a word has an empty text."),
        (lambda n: [w.translate({48: 49, 49: 48}) for w in _words(n)], "The first word holds zeros only."),
    ],
)


def _first(bits: str, words: Sequence[str], begin: int = 0) -> tuple[int, int]:
    fits = [symbol for symbol, word in enumerate(words) if word and bits.startswith(word, begin)]
    if not fits:
        raise AnswerError("Not yet: no word stands there.")
    return fits[0], begin + len(words[fits[0]])


FIRST = Task(
    _first,
    lambda: [
        ("0", ["0", "10", "110", "111"], 0),
        ("110010111", ["0", "10", "110", "111"], 0),
        ("110010111", ["0", "10", "110", "111"], 4),
        ("110010111", ["0", "10", "110", "111"], 6),
        ("010", ["110", "0", "", "10", "111"], 1),
    ],
    "str.startswith takes a place to begin at; no word begins another, so one fits.",
    [
        (lambda b, w, i: (_first(b, w, i)[0], len(w[_first(b, w, i)[0]])), "Give the place behind the word."),
        (lambda b, w, i: (w[_first(b, w, i)[0]], _first(b, w, i)[1]), "Give the symbol, not its word."),
        (lambda b, w, i: _first(b, w, i)[::-1], "The symbol comes first, then the place."),
        (lambda b, w, i: _first(b, w, i)[0], "Two numbers are asked: the symbol, and where the next begins."),
        (lambda b, w, i: _first(b, w), "Begin at the place given, not at the start."),
        (
            lambda b, w, i: (w.index("") if "" in w else _first(b, w, i)[0], _first(b, w, i)[1]),
            "An empty text is the word of no symbol; leave it out.",
        ),
        (lambda b, w, i: (_first(b, w, i)[0], _first(b, w, i)[1] - 1), "That is the word's last bit."),
    ],
)


def _read(
    bits: str, lengths: Sequence[int], words: Callable[[Sequence[int]], Sequence[str]] = _words
) -> list:
    table, symbols, word = {one: s for s, one in enumerate(words(lengths)) if one}, [], ""
    for bit in bits:
        word += bit
        if word in table:
            symbols, word = [*symbols, table[word]], ""
    return symbols


READ = Task(
    _read,
    lambda: [
        ("0", [1, 2, 3, 3]),
        ("110010111", [1, 2, 3, 3]),
        ("0110", [2, 2, 2, 2]),
        ("", [1, 1]),
        ("1101001110", [3, 1, 0, 2, 3]),
        ("0001101110111111000", [4, 4, 3, 0, 2, 2, 2]),
    ],
    "Number the words first, then cut them off the front.",
    [
        (
            lambda b, n: _read(b, n, lambda n: _words(n, lambda size, s: s)),
            "Shorter words come first, whatever their symbols are.",
        ),
        (
            lambda b, n: _read(b, n, lambda n: _words(n, wider=False)),
            "Where words get longer, the next number is moved to the left.",
        ),
        (
            lambda b, n: _read(b, n, lambda n: _words(n, lambda size, s: (size, -s))),
            "Words of one length are counted up in the order of their symbols.",
        ),
        (lambda b, n: _read(b, n)[:1], "Go on behind the first word."),
        (lambda b, n: _read(b, n)[:-1], "The last word is missing."),
        (lambda b, n: [_words(n)[symbol] for symbol in _read(b, n)], "Those are words; give their symbols."),
        (
            lambda b, n: _read(b, n, lambda n: [w for w in _words(n) if w]),
            "A symbol without a word counts when symbols are numbered.",
        ),
        (lambda b, n: _read(b[::-1], n)[::-1], "Read from the front."),
    ],
)
