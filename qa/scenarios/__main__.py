"""``python -m scenarios [--rewrite] [--json FILE] [FILE ...]``: play scenario files, show what differs, or write what is seen now."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import time
from pathlib import Path
from typing import List

from .language import play

HERE = Path(__file__).parent


def files() -> List[Path]:
    return sorted(HERE.glob("*.txt"))


def difference(path: Path) -> str:
    """What is seen now against what the file expects; empty if they agree."""
    expected, seen = path.read_text(), play(path.read_text())
    return "".join(difflib.unified_diff(expected.splitlines(True), seen.splitlines(True), "expected", "seen", n=2))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scenarios", description=__doc__)
    parser.add_argument("--rewrite", action="store_true", help="write what is seen now into the files")
    parser.add_argument("files", nargs="*", type=Path, help="default: all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    began, failed, played = time.monotonic(), 0, arguments.files or files()
    for path in played:
        text = difference(path)
        if text and arguments.rewrite:
            path.write_text(play(path.read_text()))
            print(f"{path.name}: rewritten")
        elif text:
            failed += 1
            print(f"{path.name}:\n{text}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"layer": "scenarios", "scenarios": len(played), "violations": failed,
                                              "seconds": round(time.monotonic() - began, 1)}) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
