"""Which browser of this machine opens the pages."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
