"""Give a chapter's equations and exercises its own number, the one in its file name and its title.

Sphinx can only count chapters, and the book leaves numbers free for chapters to come: it would call the
exercises of chapter 18 by 17. So the tables of contents are not numbered, and what is counted inside a
chapter is numbered here.
"""

import re


def renumber(docname: str, numbers: dict[str, dict[str, tuple]]) -> dict[str, dict[str, tuple]]:
    """Return the numbers of one page's exercises, equations and so on, counted in its chapter.

    >>> renumber("notebooks/18_deep_compression", {"exercise": {"ex-18-1": (52,), "ex-18-2": (53,)}})
    {'exercise': {'ex-18-1': (18, 1), 'ex-18-2': (18, 2)}}
    """
    if not (chapter := re.search(r"(?:^|/)(\d\d)_", docname)):
        return numbers
    return {
        kind: {name: (int(chapter[1]), place) for place, name in enumerate(found, start=1)}
        for kind, found in numbers.items()
    }


def number(app, env) -> list[str]:
    env.toc_fignumbers = {name: renumber(name, found) for name, found in env.toc_fignumbers.items()}
    return []


def setup(app) -> dict:
    app.connect("env-get-updated", number, priority=900)  # after Sphinx has counted
    return {"parallel_read_safe": True, "parallel_write_safe": True}
