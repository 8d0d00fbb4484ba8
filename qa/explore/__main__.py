"""Explore without pytest, further if asked: ``python -m explore [--scope WORDS] [--states N] [--jobs J] [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import List

from .figures import Result, begin, figures
from .scopes import SCOPES


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m explore", description="Explore the core and its register breadth "
                                        "first: every order of everything that can happen.")
    arguments.add_argument("--scope", default="", help="only scopes whose name contains these words")
    arguments.add_argument("--states", type=int, help="most states of each scope (default: the scope's own limit)")
    arguments.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (default: one a core)")
    arguments.add_argument("--json", type=Path, help="write the figures to this file")
    chosen = arguments.parse_args()
    began = time.monotonic()
    results: List[Result] = []
    names = [scope.name for scope in SCOPES if chosen.scope in scope.name]
    with ProcessPoolExecutor(chosen.jobs, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed(begin(pool, names, chosen.states).values()):
            results.append(future.result())
            print(results[-1], flush=True)
    total = figures(results, began)
    print(f"{total['states']} states, {total['edges']} edges, {total['lists']} lists of actions interrupted in "
          f"{total['deaths']} ways, {total['violations']} violations, {total['seconds']} s")
    if chosen.json:
        chosen.json.write_text(json.dumps(total) + "\n")
    return 1 if total["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
