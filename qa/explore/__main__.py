"""Explore without pytest, further if asked: ``python -m explore [--states N] [--scope WORDS] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import List

from .scopes import SCOPES
from .search import Found
from .world import Violation


def main() -> int:
    arguments = argparse.ArgumentParser(prog="explore", description="Explore the core breadth first.")
    arguments.add_argument("--states", type=int, help="most states of each scope (default: the scope's own limit)")
    arguments.add_argument("--scope", default="", help="only scopes whose name contains these words")
    arguments.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = arguments.parse_args()
    all_found: List[Found] = []
    violations = 0
    for scope in SCOPES:
        if chosen.scope not in scope.name:
            continue
        try:
            all_found.append(scope.explore(chosen.states))
            print(f"{scope.name}: {all_found[-1]}", flush=True)
        except Violation as violation:
            violations += 1
            print(f"{scope.name}: VIOLATION: {violation}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({
            "layer": "explore", "states": sum(f.states for f in all_found), "edges": sum(f.edges for f in all_found),
            "violations": violations, "seconds": round(sum(f.seconds for f in all_found), 1)}) + "\n")
    return 1 if violations else 0


sys.exit(main())
