"""Which browser of this machine opens the pages, and what is missing to drive it."""

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)


def undrivable(chromium: str | None = CHROMIUM, driver: Path | None = None) -> str:
    """Return what keeps a browser from being driven here, and what to do; "" where nothing does.

    Args:
        chromium: the browser's program.
        driver: the program that Playwright starts; None for its own.
    """
    if chromium is None:
        return "no Chromium: install the system's package (chromium)"
    if driver is None and (playwright := find_spec("playwright")) and playwright.origin:
        program = "node.exe" if sys.platform == "win32" else "node"
        driver = Path(playwright.origin).with_name("driver") / program
    if driver is None:
        return "no Playwright: pip install playwright"
    done = subprocess.run([driver, "--version"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    advice = "; on Debian install libatomic1" * ("libatomic" in done.stderr)
    return f"Playwright's driver does not start: {done.stderr.strip()}{advice}"


UNDRIVABLE = undrivable()
