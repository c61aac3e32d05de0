"""Make what a room needs: for participants notebooks, handouts and a wheel; for the instructor all the rest.

Where the book is built, its pages then link what participants get.
`--wheels` lays the wheels of everything beside them, for a room without network; `--torch cpu` takes torch
without CUDA for it. What stands on the command line names chapters by number; nothing names all.
"""

import argparse
import base64
import csv
import html
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import forms
import handouts
import minutes
import nbformat
import parcel
import routes
import slides
from outline import Figure, Outline, Prediction, outline

import notebooks
from compresslab.teaching import progress, records

KIT = handouts.BUILT / "workshop"
CPU = "https://download.pytorch.org/whl/cpu"
TRAINS = re.compile(r"\b(?:train|distill|search)\(")
START = """\
# Before the workshop

You need Python 3.11 to 3.13. In this folder:

    python3 -m venv .venv
    .venv/bin/python -m pip install {where}-c constraints.txt "{wheel}" jupyterlab
    .venv/bin/python -m compresslab doctor
    .venv/bin/jupyter lab notebooks/{first}

On Windows it is `py -3` and not `python3`, and `.venv\\Scripts` and not `.venv/bin`.
Data and trained networks are inside the wheel.
In the notebook run each cell with Shift and Enter. Where it says Predict, choose before you run the next one.
{sizes}
If doctor says FAIL and what it advises does not help, share a machine, or read the pages of the book:
they show every output.

`handouts` has one page for each chapter, to print or to write on.
`.venv/bin/python -m compresslab progress notebooks` says what you have solved. The checks keep it in
`notebooks/progress.json`, on your machine alone; delete the file, and nothing is kept.
"""
SIZES = """
pip fetches {Windows} MB on Windows, {macOS} on macOS and {Linux} on Linux, where torch comes with CUDA.
Without it {small} are enough; run this before the second line:

    .venv/bin/python -m pip install --no-deps -c constraints.txt torch torchvision --index-url {cpu}

Windows on Arm and Macs with Intel have no wheels of today's torch: share a machine.
"""
OFFLINE = """
Nothing is downloaded. The wheels are for {system} and Python {python}; another machine needs others.
"""
GUIDE = """\
# For the instructor

| Where | What |
|---|---|
| `solutions/` | every chapter with its outputs, answers and solutions, nothing folded |
| `slides/` | a deck for each chapter; S opens the notes with the answers, F fills the screen |
| `timing.md` | minutes of each section, by the formula of the page "Routes" |
| `mistakes.md` | what people answer wrongly, and what the check tells them |
| `figures/` | the figures as they should come out, with their findings in `figures.md` |
| `results.md` | what the cells print that train, for a machine that cannot |
| `routes.md`, `rubric.md` | plans from 90 minutes to twelve weeks; how to mark assignments and the project |

A week before: send the participants' folder, and ask each what doctor says, the third command of its README.
Install it for yourself, too; there `.venv/bin/jupyter lab PATH-OF-THIS-FOLDER/solutions` opens the solutions.
A deck is a chapter: open its file in a browser, and go on with the space bar. It needs no network.
For a plan of sections press Esc in a deck: the overview leads to the section's slide.
A section needs the code of those before it, also of sections that a plan leaves out.
Let all select a section's first cell and choose, in JupyterLab's menu Run, Run All Above Selected Cell.
The estimates are no measurements: a room that talks takes longer, so every plan has a rest.
"""
SHEET = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
  @page {{ size: A4; margin: 14mm; }}
  body {{ font: 12px/1.4 system-ui, sans-serif; max-width: 182mm; margin: auto; }}
  h1 {{ font-size: 20px; margin: 0 0 6px; }}
  h2 {{ font-size: 14px; margin: 9px 0 3px; color: #0072b2; }}
  p, ul, ol {{ margin: 0 0 4px; }}
  .two {{ columns: 2; column-gap: 8mm; }}
  .two > div {{ break-inside: avoid; margin-bottom: 6px; }}
  .line {{ border-bottom: 1px solid #999; height: 24px; }}
  .two ul {{ list-style: none; padding-left: 6px; }}
</style>
<h1>{title}</h1>
{body}
<script>window.MathJax = {{ startup: {{ typeset: true }} }};</script>
<script src="mathjax/tex-chtml.js" async></script>
"""


def handout(found: Outline) -> str:
    """Return a chapter's page for participants: promise, goals, predictions to mark, questions; no answer."""
    asked = [one for part in found.parts for one in part.shown if isinstance(one, Prediction)]
    choices = [slides.listed([f"□ {choice}" for choice, _ in one.choices]) for one in asked]
    pairs = zip(asked, choices, strict=True)
    boxes = "".join(f"<div>{slides.rendered(one.question)}{boxed}</div>" for one, boxed in pairs)
    recall = "".join(f"<div>{slides.rendered(one)}<div class=line></div></div>" for one in found.recall)
    tasks = [f"{number} {title}" for number, title, _ in found.exercises]
    body = [slides.rendered(found.promise), "<h2>After this chapter you can</h2>", slides.listed(found.goals)]
    if asked:
        body += ["<h2>Choose before you run</h2>", f'<div class="two">{boxes}</div>']
    if tasks:
        body += ["<h2>Exercises</h2>", slides.listed(tasks)]
        body += ["<h2>Without looking</h2>", f'<div class="two">{recall}</div>']
    return SHEET.format(title=html.escape(found.title), body="\n".join(body))


def timing(texts: list[Path]) -> str:
    """Return the minutes of every section of some chapters."""
    lines = ["# Timing", "", minutes.__doc__.split("\n\n")[1].strip(), ""]
    for text in texts:
        first, *rest = minutes.sections(text)
        lines += [f"## {first.title}", "", minutes.head(text), "", "| Section | Minutes |", "|---|---|"]
        lines += [f"| {one.title} | {max(1, round(one.minutes))} |" for one in rest if not one.exercises]
        done = {name: time for one in rest for name, time in one.exercises.items()}
        lines += [*(f"| Exercise {name} | {time} |" for name, time in done.items()), ""]
    return "\n".join(lines)


def mistakes(found: list[Outline]) -> str:
    """Return for each exercise its typical mistakes with what to say."""
    lines = [
        "# Typical mistakes",
        "",
        "The check says these sentences; they do not give the answer away.",
        "",
    ]
    for one in found:
        lines += [f"## {one.title}", ""] if one.exercises else []
        for number, title, _ in one.exercises:
            lines += [f"### Exercise {number} · {title}", "", forms.mistakes(number) or "None is known.", ""]
    return "\n".join(lines)


def figures(texts: list[Path], found: list[Outline], folder: Path) -> str:
    """Write the figures as they should come out; return the page that says what each one shows."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# Expected figures", ""]
    for text, one in zip(texts, found, strict=True):
        shown = [(part.title, it) for part in one.parts for it in part.shown if isinstance(it, Figure)]
        for place, (section, figure) in enumerate(shown, 1):
            kind, packed = re.fullmatch(r"data:image/(\w+)[^,]*;base64,(.+)", figure.source).groups()
            name = f"{text.stem}_{place}.{kind}"
            (folder / name).write_bytes(base64.b64decode(packed))
            lines += [
                f"**{one.title[:2]}, {section}.** {figure.caption or figure.alt}",
                "",
                f"![]({name})",
                "",
            ]
    return "\n".join(lines)


def results(texts: list[Path]) -> str:
    """Return what the cells that train have printed, by chapter; after silent ones, the next that speaks."""
    lines = ["# Results to show where training is not possible", ""]
    for text in texts:
        cells = nbformat.read(notebooks.NOTEBOOKS / f"{text.stem}.ipynb", as_version=4).cells
        told, waiting = [], False
        for cell in (cell for cell in cells if cell.cell_type == "code"):
            waiting |= bool(TRAINS.search(cell.source))
            if waiting:
                printed = "".join(printed_by(cell.outputs)).strip("\n")
                told += [
                    f"```python\n{cell.source}\n```",
                    "",
                    *([f"```\n{printed}\n```", ""] if printed else []),
                ]
                waiting = not printed
        lines += [f"## {text.stem}", "", *told] if told else []
    return "\n".join(lines)


def printed_by(outputs: list) -> Iterator[str]:
    for output in outputs:
        yield "".join(output.get("text") or output.get("data", {}).get("text/plain", ""))


def plans() -> str:
    """Return the page of the routes without what only its maker reads; other pages are not beside it."""
    page = re.sub(r"(?m)^%.*\n", "", routes.PAGE.read_text(encoding="utf-8"))
    return re.sub(r"\{doc\}`([^`<]+?)(?: <[^`]*>)?`", r"\1", page)


def within(notebook: str, texts: list[Path]) -> str:
    """Return a notebook in which links to chapters that the kit lacks are words.

    >>> within("[Chapter 01](01_network.ipynb), [07](07_x.ipynb#A)", [Path("01_network.md")])
    '[Chapter 01](01_network.ipynb), 07'
    """
    here = {f"{text.stem}.ipynb" for text in texts}
    link = r"\[([^\[\]]*)\]\((\d\d_\w+\.ipynb)(?:#[^()\s]*)?\)"
    return re.sub(link, lambda found: found[0] if found[2] in here else found[1], notebook)


def rubric() -> str:
    """Return how assignments and the project are marked, from the page of the routes."""
    return "# Rubric\n\n" + re.search(r"(?ms)^\*\*Points of an assignment.*?(?=^## )", plans())[0]


def sizes() -> str:
    """Return how much an installation fetches, as the table of README says."""
    with records.path("sizes.csv").open(encoding="utf-8", newline="") as file:
        fetched = {row["System"]: f"{int(row['Fetches, MB']):,}" for row in csv.DictReader(file)}
    return SIZES.format(**fetched, small=fetched["Linux, TORCH=cpu"], cpu=CPU)


def wheel(folder: Path) -> Path:
    """Build the wheel of the package, with its data and networks inside."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder)]
    subprocess.run([*command, str(notebooks.ROOT)], check=True)
    return next(folder.glob("compresslab-*.whl"))


def wheels(built: Path, folder: Path, torch: str) -> None:
    """Download the wheels of everything that a participant's machine of this kind installs."""
    pins = ["-c", str(notebooks.ROOT / "constraints.txt"), "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *pins]
    if torch == "cpu":
        subprocess.run([*command, "--no-deps", "torch", "torchvision", "--index-url", CPU], check=True)
    subprocess.run([*command, "--find-links", str(folder), str(built), "jupyterlab"], check=True)


def participants(texts: list[Path], found: list[Outline], folder: Path) -> None:
    """Write what participants get."""
    for name in ("notebooks", "handouts"):
        (folder / name).mkdir(parents=True)
    for text, one in zip(texts, found, strict=True):
        given = within(handouts.participant(text), texts)
        (folder / "notebooks" / f"{text.stem}.ipynb").write_text(given, encoding="utf-8")
        (folder / "handouts" / f"{text.stem}.html").write_text(handout(one), encoding="utf-8")
    shutil.copytree(slides.vendor.VENDOR / "mathjax", folder / "handouts" / "mathjax")
    progress.start(folder / "notebooks")
    shutil.copy(notebooks.ROOT / "constraints.txt", folder)


def welcome(texts: list[Path], built: str, offline: bool) -> str:
    """Return how participants begin, with a wheel of that name."""
    where = "--no-index --find-links wheels " if offline else ""
    told = "" if offline else sizes()
    start = START.format(wheel=built, where=where, first=f"{texts[0].stem}.ipynb", sizes=told)
    if offline:
        python = ".".join(platform.python_version_tuple()[:2])
        start += OFFLINE.format(system=f"{platform.system()} on {platform.machine()}", python=python)
    return start


def instructor(texts: list[Path], found: list[Outline], folder: Path) -> None:
    """Write what the instructor gets."""
    (folder / "solutions").mkdir(parents=True)
    for text in texts:
        solved = within(handouts.instructor(text), texts)
        (folder / "solutions" / f"{text.stem}.ipynb").write_text(solved, encoding="utf-8")
    slides.write(texts, folder / "slides")
    pages = {"README": GUIDE, "timing": timing(texts), "mistakes": mistakes(found), "results": results(texts)}
    pages |= {"rubric": rubric(), "routes": plans()}
    pages["figures/figures"] = figures(texts, found, folder / "figures")
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


def linked(packed: Path, site: Path = parcel.SITE) -> None:
    """Lay the participants' zip beside the built pages, where there are some, and link it from them."""
    if site.is_dir():
        shutil.copy(packed, site / parcel.named("-workshop.zip"))
        parcel.offer(site)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="numbers such as 03, or nothing for all")
    parser.add_argument("--wheels", action="store_true", help="for a room without network")
    parser.add_argument("--torch", choices=["", "cpu"], default="", help="cpu: without CUDA")
    options = parser.parse_args()
    texts = notebooks.texts(options.chapters)
    found = [outline(text) for text in texts]
    shutil.rmtree(KIT, ignore_errors=True)
    people, guide = KIT / "participants", KIT / "instructor"
    participants(texts, found, people)
    instructor(texts, found, guide)
    built = wheel(people)
    if options.wheels:
        wheels(built, people / "wheels", options.torch)
    (people / "README.md").write_text(welcome(texts, built.name, options.wheels), encoding="utf-8")
    for folder in (people, guide):
        packed = Path(shutil.make_archive(str(folder), "zip", KIT, folder.name))
        print(f"{folder}, zipped {packed.stat().st_size / 1e6:.1f} MB")
    linked(people.with_suffix(".zip"))
    print(f"{built.name}: {built.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
