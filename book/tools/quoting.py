"""Put figures where pages quote them: a name in double braces stands for a figure of book/quoted.csv.

book/records/quoted.py writes that file from cells and records, so what a page shows is what was found there.
"""

import csv
import re
from pathlib import Path

FILE = Path(__file__).resolve().parents[1] / "quoted.csv"
NAME = re.compile(r"\{\{ (\w+) \}\}")


def figures() -> dict[str, str]:
    """Return each figure by its name."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row["figure"] for row in csv.DictReader(file)}


def switch(app, config) -> None:
    config.myst_substitutions = {**config.myst_substitutions, **figures()}


def setup(app) -> dict:
    app.connect("config-inited", switch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
