"""Ways through the book: their minutes add up, and what a chapter needs comes before it."""

import re

import pytest
import routes

PAGE = routes.PAGE.read_text(encoding="utf-8")
SESSIONS = [
    pytest.param(route, session, id=f"{name}-{session['title']}")
    for name, route in routes.routes().items()
    for session in route["session"]
]
every = pytest.mark.parametrize(("route", "session"), SESSIONS)
each = pytest.mark.parametrize("name", routes.routes())


def test_the_page_shows_the_tables_of_today():
    assert routes.filled(PAGE) == PAGE, "run: make prose"
    assert set(re.findall(r"^% route: (\S+)", PAGE, re.MULTILINE)) == {*routes.routes(), "group", "questions"}


def tables() -> list[list[tuple[int, int, int]]]:
    """Return the rows of every table of minutes on the page: from, to, minutes."""
    found = re.findall(r"(?m)^\| Minute \| .*\n\|---.*\n((?:\|.*\n)+)", PAGE)
    return [
        [tuple(map(int, row)) for row in re.findall(r"(?m)^\| (\d+) to (\d+) \| (\d+) \|", rows)]
        for rows in found
    ]


def test_the_clock_of_every_table_runs_without_a_gap_to_the_minutes_that_are_promised():
    promised = [int(one) for one in re.findall(r"(?m)^\*\*[\w ]+\*\*, (\d+) minutes$", PAGE)]
    assert len(promised) == 6
    for rows, whole in zip(tables(), [*promised, routes.read()["group"]["minutes"]], strict=True):
        assert [start for start, *_ in rows] == [0, *(end for _, end, _ in rows[:-1])]
        assert all(end - start == minutes > 0 for start, end, minutes in rows)
        assert rows[-1][1] == whole


@every
def test_what_is_left_of_a_session_is_neither_nothing_nor_most_of_it(route, session):
    *_, rest = routes.meeting(route, session)
    assert 10 <= rest.minutes <= (50 if "weekly" in route else 30)


@every
def test_nobody_sits_longer_than_two_hours_without_a_break(route, session):
    stretches = [0]
    for one in routes.meeting(route, session):
        stretches = (
            [*stretches, 0] if one.what == routes.BREAK else [*stretches[:-1], stretches[-1] + one.minutes]
        )
    assert len(stretches) > 1
    assert max(stretches) <= 120


@each
def test_every_route_begins_with_the_set_up(name):
    route = routes.routes()[name]
    first = routes.meeting(route, route["session"][0])[0]
    assert first.what.startswith("Set-up")
    assert first.minutes >= 10


@each
def test_what_a_chapter_needs_comes_before_it(name):
    had: list[str] = []
    for session in routes.routes()[name]["session"]:
        parts = [{"chapter": number} for number in session.get("chapters", [])] + session.get("parts", [])
        for part in parts:
            if number := part.get("chapter"):
                assert routes.before(number) <= set(had), f"chapter {number}"
                had.append(number)
            if exercise := part.get("exercise"):
                assert exercise[:2] in had, f"exercise {exercise}"
    assert had[0] == "00"


def test_prerequisites_are_read_from_the_heads():
    assert routes.before("00") == routes.before("01") == set()
    assert routes.before("03") == {"02"}
    assert routes.before("09") == {"02", "07"}
    assert routes.before("18") == {"06", "07", "09"}


def test_the_reading_group_takes_every_chapter_in_its_order_with_two_questions():
    asked = routes.read()["group"]["questions"]
    assert list(asked) == list(routes.texts()), "a chapter needs two questions in book/routes.toml"
    assert {len(questions) for questions in asked.values()} == {2}
    every_one = [question for questions in asked.values() for question in questions]
    assert len(set(every_one)) == len(every_one)
    assert all("?" in question for question in every_one)


def test_the_points_of_the_course_are_a_hundred():
    rows = re.findall(r"(?m)^\| (\d+) \| .* \| (Exercise .*|The project) \| (\d+) \|$", PAGE)
    assert [int(week) for week, *_ in rows] == list(range(1, 13))
    assert sum(int(points) for *_, points in rows) == 100
    rubric = re.findall(r"(?m)^\| (\d+) \| the \w+: ", PAGE)
    assert sum(map(int, rubric)) == routes.routes()["course"]["project"]


def test_the_minutes_of_every_weeks_meeting_add_up():
    meetings = re.findall(r"(?m)^\| \d+ \| [^|]* \| \d+ \| ([^|]*) \|", PAGE)
    assert len(meetings) == 12
    for meeting in meetings:
        assert sum(int(minutes) for minutes in re.findall(r" (\d+)(?:,|$)", meeting)) == 90


def test_every_assignment_is_an_exercise_of_sixty_minutes():
    for chapter, place in re.findall(r"(\d+)\.(3)\b", " ".join(re.findall(r"Exercise [\d. or]+", PAGE))):
        assert routes.exercises(f"{int(chapter):02}")[f"{int(chapter):02}-{place}"] == 60


def test_a_section_that_a_chapter_does_not_have_is_named():
    with pytest.raises(ValueError, match=r"chapter 02 has no section By foot, but .*; By hand; "):
        routes.part({"chapter": "02", "sections": ["By hand", "By foot"]})
