"""``python -m compresslab``: what can be asked from a terminal."""

import argparse
import sys
from pathlib import Path

from compresslab.exercises.answers import questions
from compresslab.exercises.tasks import TASKS
from compresslab.teaching import progress
from compresslab.teaching.doctor import doctor
from compresslab.teaching.scoring import tell


def main() -> int:
    """Run one command; the exit status is 1 where it found something that fails."""
    parser = argparse.ArgumentParser("python -m compresslab", description="Make neural networks small.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="look whether this machine can run the notebooks")
    kept = commands.add_parser("progress", help="say which exercises were solved")
    kept.add_argument("folder", nargs="?", type=Path, default=Path(), help="of the notebooks; else this one")
    kept.add_argument("--start", action="store_true", help="let the checks keep it in a file there")
    judge = commands.add_parser("score", help="read digits with a file of the challenge, print its row")
    judge.add_argument("file", help="that save wrote; it may come from a stranger")
    judge.add_argument("--final", action="store_true", help="ask the test digits, not those of validation")
    judge.add_argument("--name", help="for the leaderboard; else the file's own")
    asked = parser.parse_args()
    if asked.command == "score":
        return tell(asked.file, asked.final, asked.name)
    if asked.command == "progress":
        return progress.tell([*questions(), *TASKS], asked.folder, asked.start)
    return int(bool(doctor()))


if __name__ == "__main__":
    sys.exit(main())
