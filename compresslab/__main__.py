"""``python -m compresslab``: what can be asked from a terminal."""

import argparse
import sys

from compresslab.teaching.doctor import doctor
from compresslab.teaching.scoring import tell


def main() -> int:
    """Run one command; the exit status is 1 where it found something that fails."""
    parser = argparse.ArgumentParser("python -m compresslab", description="Make neural networks small.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="look whether this machine can run the notebooks")
    judge = commands.add_parser("score", help="read digits with a file of the challenge, print its row")
    judge.add_argument("file", help="that save wrote; it may come from a stranger")
    judge.add_argument("--final", action="store_true", help="ask the test digits, not those of validation")
    judge.add_argument("--name", help="for the leaderboard; else the file's own")
    asked = parser.parse_args()
    if asked.command == "score":
        return tell(asked.file, asked.final, asked.name)
    return int(bool(doctor()))


if __name__ == "__main__":
    sys.exit(main())
