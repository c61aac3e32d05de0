"""Turn the ways through the book, book/routes.toml, into the tables of book/routes.md; their minutes add up.

Chapters and exercises take the minutes that `minutes.py` estimates, so an edited chapter changes the tables:
`make prose` writes them anew. What a session has left over is its rest; a test says how much that may be.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import minutes
from plain import BOOK, CHAPTERS

PAGE, ROUTES = BOOK / "routes.md", BOOK / "routes.toml"
PLACE = re.compile(r"(?ms)^% route: ([\w-]+)\n.*?^% end$")
BREAK = "Break"


@dataclass(frozen=True)
class Part:
    """Some minutes of a session.

    Args:
        minutes: how long it takes.
        what: what is done.
        chapter: the chapter that is read, such as "02"; "" where none is.
    """

    minutes: int
    what: str
    chapter: str = ""


@cache
def routes() -> dict[str, dict[str, Any]]:
    """Return the ways by their names, as they stand in the file."""
    return {route["name"]: route for route in read()["route"]}


@cache
def read() -> dict[str, Any]:
    return tomllib.loads(ROUTES.read_text(encoding="utf-8"))


@cache
def texts() -> dict[str, Path]:
    """Return the texts of the chapters by their numbers."""
    return {path.stem[:2]: path for path in sorted(CHAPTERS.glob("*.md"))}


@cache
def sections(chapter: str) -> dict[str, minutes.Section]:
    """Return the sections of a chapter by their headings."""
    return {section.title: section for section in minutes.sections(texts()[chapter])}


@cache
def title(chapter: str) -> str:
    """Return what a chapter is about: its title without its number and its second half."""
    return next(iter(sections(chapter))).partition(" · ")[2].partition(":")[0]


def exercises(chapter: str) -> dict[str, int]:
    """Return the minutes of a chapter's exercises by their names."""
    return {name: time for one in sections(chapter).values() for name, time in one.exercises.items()}


def part(given: dict[str, Any]) -> Part:
    """Return a part of a session with its minutes.

    Raises:
        ValueError: it names a section that its chapter does not have.
    """
    if "exercise" in given:
        chapter, place = given["exercise"].split("-")
        return Part(exercises(chapter)[given["exercise"]], f"Exercise {int(chapter)}.{place}")
    if "chapter" not in given:
        return Part(given["minutes"], given["what"])
    number = given["chapter"]
    named, wanted = f"Chapter {number}, {title(number)}", given.get("sections")
    if given.get("run"):
        return Part(minutes.running(texts()[number]), f"{named}, run together", number)
    if wanted is None:
        return Part(minutes.reading(texts()[number]), named, number)
    if unknown := [name for name in wanted if name not in sections(number)]:
        stand = "; ".join(sections(number))
        raise ValueError(f"chapter {number} has no section {'; '.join(unknown)}, but {stand}")
    time = minutes.rounded(sum(sections(number)[name].minutes for name in wanted))
    return Part(time, f"{named}: {'; '.join(wanted)}", number)


def meeting(route: dict[str, Any], session: dict[str, Any]) -> list[Part]:
    """Return the parts of a session in their order, the rest last."""
    parts = [part(one) for one in session.get("parts", [])]
    if "weekly" in route:
        parts += list(weekly(route["weekly"], session["chapters"]))
    return [*parts, Part(session["minutes"] - sum(one.minutes for one in parts), route["rest"])]


def weekly(given: dict[str, int], chapters: list[str]) -> Iterator[Part]:
    """Yield what each meeting of the course holds: the chapters have been read at home."""
    if chapters:
        yield Part(given["recall"], "recall")
    practised = [list(exercises(chapter).items())[:2] for chapter in chapters]
    for place, kind in enumerate(("check", "vary")):
        if time := sum(one[place][1] for one in practised if one):
            yield Part(time, kind)
    yield Part(given["break"], BREAK)


def clock(parts: list[Part]) -> Iterator[str]:
    """Yield the rows of a session's table."""
    now = 0
    for one in parts:
        yield f"| {now} to {now + one.minutes} | {one.minutes} | {one.what} |"
        now += one.minutes


def table(name: str) -> str:
    """Return what stands on the page for a way."""
    if name == "course":
        return course(routes()[name])
    if name == "group":
        return group(read()["group"])
    if name == "questions":
        return questions(read()["group"]["questions"])
    route, lines = routes()[name], []
    for session in route["session"]:
        lines += [f"**{session['title']}**, {session['minutes']} minutes", ""]
        lines += ["| Minute | Minutes | What |", "|---|---|---|", *clock(meeting(route, session)), ""]
    return "\n".join(lines)


def group(given: dict[str, Any]) -> str:
    rows = clock(meeting({"rest": given["rest"]}, given))
    return "\n".join(["| Minute | Minutes | What |", "|---|---|---|", *rows, ""])


def questions(given: dict[str, list[str]]) -> str:
    lines = []
    for number, asked in given.items():
        lines += [f"**Chapter {number}**, {minutes.reading(texts()[number])} minutes to read", ""]
        lines += [*(f"{place}. {question}" for place, question in enumerate(asked, 1)), ""]
    return "\n".join(lines)


def course(route: dict[str, Any]) -> str:
    lines = [
        "| Week | Read before | Minutes | In the meeting, minutes | Assignment | Points |",
        "|" + "---|" * 6,
    ]
    for session in route["session"]:
        chapters = session["chapters"]
        home = sum(minutes.reading(texts()[number]) for number in chapters)
        parts = ", ".join(f"{one.what.lower()} {one.minutes}" for one in meeting(route, session))
        builds = [f"{int(number)}.3" for number in chapters if len(exercises(number)) > 2]
        task = f"Exercise {' or '.join(builds)}" if builds else "The project"
        named = ", ".join(f"chapter {number}" for number in chapters) or "nothing"
        points = route["points"] if builds else route["project"]
        lines.append(f"| {session['title']} | {named} | {home} | {parts} | {task} | {points} |")
    return "\n".join([*lines, ""])


def before(chapter: str) -> set[str]:
    """Return the chapters that a chapter's head asks for."""
    said = re.search(r"(?ms)^\*\*Before:\*\* (.*?)(?:\n\n|\Z)", texts()[chapter].read_text(encoding="utf-8"))
    if said is None or "if you like" in said[1]:
        return set()
    return set(re.findall(r"\((\d\d)_\w+\.ipynb\)", said[1])) | set(re.findall(r"[Cc]hapter (\d\d)", said[1]))


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = filled(page)
    if written != page:
        PAGE.write_text(written, encoding="utf-8")
        print(PAGE)


def filled(page: str) -> str:
    """Return the page's text with every table written anew."""
    return PLACE.sub(lambda found: f"% route: {found[1]}\n\n{table(found[1])}\n% end", page)


if __name__ == "__main__":
    main()
