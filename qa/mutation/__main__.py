"""``python -m mutation [--only WORDS] [--json FILE]``: take each guard away in turn, and say who noticed."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .mutants import MUTANTS
from .run import begin, remember


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m mutation", description=__doc__)
    parser.add_argument("--only", default="", help="only mutants whose name contains these words")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--verbose", action="store_true", help="print what was found")
    parser.add_argument("--remember", action="store_true", help="note who noticed in noticed.txt, to be asked first")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    began, outcomes = time.monotonic(), []
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for future in begin(pool, [m for m in MUTANTS if arguments.only in m.name]):
            outcome = future.result()
            outcomes.append(outcome)
            verdict = outcome.broken or f"{outcome.layer} {outcome.what}".strip() or "SURVIVED"
            print(f"{outcome.seconds:6.1f} s  {outcome.mutant.name}: {verdict}", flush=True)
            if arguments.verbose:
                print("\n".join(f"          {line}" for line in outcome.found.splitlines()[:12]))
    if arguments.remember and not arguments.only:
        remember(outcomes)
    by_layer = Counter(o.layer for o in outcomes if o.layer)
    survived, seconds = sum(not o.layer for o in outcomes), round(time.monotonic() - began, 1)
    print(f"{len(outcomes)} mutants, {survived} survived, {seconds} s; noticed by "
          + ", ".join(f"{layer}: {count}" for layer, count in by_layer.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"layer": "mutation", "mutants": len(outcomes), "survived": survived,
                                              "noticed_by": by_layer, "seconds": seconds}) + "\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
