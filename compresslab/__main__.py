"""``python -m compresslab``: what can be asked from a terminal."""

import argparse
import sys

from compresslab.teaching.doctor import doctor

COMMANDS = {"doctor": doctor}


def main() -> int:
    """Run one command; the exit status is 1 where it found something that fails."""
    parser = argparse.ArgumentParser("python -m compresslab", description="Make neural networks small.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="look whether this machine can run the notebooks")
    return int(bool(COMMANDS[parser.parse_args().command]()))


if __name__ == "__main__":
    sys.exit(main())
