"""Run every notebook again as a reader gets it, alone in an empty folder, and compare its stored outputs.

What stands on the command line goes to pytest, such as `-n 2 --dist loadscope`, or `-k 07_training`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
            folder = Path(place) / notebook.stem  # its own: no notebook finds what another wrote
            folder.mkdir()
            shutil.copy(notebook, folder)
        command = [sys.executable, "-m", "pytest", f"--rootdir={place}", "-c", "none.ini", "--nbval"]
        command += [f"--nbval-sanitize-with={SANITIZE}", "--nbval-cell-timeout=120"]
        (Path(place) / "none.ini").touch()  # the repository's own options are for its tests
        done = subprocess.run([*command, *sys.argv[1:]], cwd=place, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
