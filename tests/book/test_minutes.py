"""The minutes that a chapter's head shows follow from its text by the formula that is written down."""

import minutes
import pytest

TEXTS = sorted(minutes.CHAPTERS.glob("*.md"))
each = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)

CHAPTER = """# Title of four words

{prose}

## By hand

```{{code-cell}}
:tags: [hide-input]
x = 1
```

```{{code-cell}}
# why

{code}
```

```{{predict}}
Which?

One
: Yes.
```

## Exercises

```{{exercise}} A
:label: ex-02-1

Check, 5 minutes. Many words that count nothing.
```

```{{code-cell}}
answer = None
check("02-1", answer)
```

````{{solution-start}} ex-02-1
````

Words of a solution.

```{{code-cell}}
check("02-1", 1)
```

````{{solution-end}}
````

```{{exercise}} B
:label: ex-02-2

Vary, 15 minutes. More.
```

## Recap

Three more words.
"""


@pytest.fixture
def chapter(tmp_path):
    def write(prose="one two", code="y = 2", edit=lambda text: text):
        path = tmp_path / "02_title.md"
        path.write_text(edit(CHAPTER.format(prose=prose, code=code)))
        return path

    return write


@each
def test_the_head_says_what_the_formula_gives(text):
    (line,) = minutes.HEAD.findall(text.read_text(encoding="utf-8"))
    assert line == minutes.head(text), "run: make prose"


def test_what_counts_is_counted_once_and_what_is_folded_is_not(chapter):
    first, hand, exercises, recap = minutes.sections(chapter())
    assert (first.title, first.words, first.lines) == ("Title of four words", 5 + 2, 0)
    assert (hand.title, hand.words, hand.lines, hand.predictions) == ("By hand", 3 + 4, 2, 1)
    assert (exercises.words, exercises.lines) == (2, 0)
    assert exercises.exercises == {"02-1": 5, "02-2": 15}
    assert (recap.title, recap.words, recap.lines) == ("Recap", 2 + 3, 0)


@pytest.mark.parametrize(("prose", "code", "more"), [(" ".join(["a"] * 152), "y", 1), ("a b", "y\n" * 6, 1)])
def test_150_words_or_five_lines_are_a_minute(chapter, prose, code, more):
    def whole(path):
        return sum(section.minutes for section in minutes.sections(path))

    short = whole(chapter("a b", "y"))
    assert whole(chapter(prose, code)) == pytest.approx(short + more)


def test_a_prediction_takes_a_minute_and_a_half(chapter):
    (_, hand, *_) = minutes.sections(chapter())
    assert hand.minutes == pytest.approx(7 / 150 + 2 / 5 + 1.5)


def test_minutes_are_rounded_up_to_five_and_exercises_are_added(chapter):
    assert [minutes.rounded(given) for given in (0.1, 5, 5.1)] == [5, 5, 10]
    assert minutes.head(chapter()) == "**Time:** 5 minutes, 25 with exercises."


def test_a_chapter_without_exercises_says_how_long_it_takes_to_run(chapter):
    path = chapter(prose="word " * 400, edit=lambda text: text.partition("## Exercises")[0])
    assert minutes.head(path) == "**Time:** 5 minutes, 5 with its code."


def test_an_exercise_that_says_no_minutes_is_refused(chapter):
    path = chapter(edit=lambda text: text.replace("15 minutes", "long"))
    with pytest.raises(ValueError, match="ex-02-2 does not say how many minutes"):
        minutes.sections(path)


def test_the_line_is_set_once_and_only_where_it_stands(chapter):
    path = chapter("**Time:** 1 minute.\n**Before:** nothing.")
    before = path.read_text()
    assert minutes.write(path)
    assert path.read_text() == before.replace("**Time:** 1 minute.", minutes.head(path))
    assert not minutes.write(path)
    with pytest.raises(ValueError, match=r"has no line that begins with \*\*Time:\*\*"):
        minutes.write(chapter())
