"""``python -m sim``: run seeds in parallel, print the timeline of those that fail, optionally write figures as JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List

from . import runs

KEPT = Path(__file__).with_name("seeds.txt")
"""Seeds that failed once; they run always."""

TOLD_EVERY = 1000


def kept_seeds() -> List[int]:
    lines = KEPT.read_text().splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def simulate(seeds: Iterable[int], jobs: int, told_every: int = 0) -> Dict[str, Any]:
    """Run the seeds; returns the figures, with every failure's problem and timeline.

    ``told_every``: print each failure when it is found, and how far it has come after so many seeds; 0: print nothing.
    """
    began = time.monotonic()
    figures = {**nothing(), "seconds": 0.0}
    with multiprocessing.Pool(jobs) as pool:
        for result in pool.imap_unordered(runs.run, seeds, chunksize=4):
            count(figures, result)
            figures["seconds"] = round(time.monotonic() - began, 1)
            if told_every and result.problem:
                print(f"seed {result.seed}: {result.problem}\n{result.timeline}\n", flush=True)
            if told_every and figures["seeds"] % told_every == 0:
                print(_line(figures), flush=True)
    return figures


def nothing() -> Dict[str, Any]:
    """Figures of no seed."""
    return {"layer": "sim", "seeds": 0, "violations": 0, "simulated_hours": 0.0, "promotions": 0, "excused_overlaps": 0,
            "slowest_settled_s": 0.0, "failed": []}


def count(figures: Dict[str, Any], result: runs.Result) -> None:
    """Add one seed's."""
    figures["seeds"] += 1
    figures["simulated_hours"] += result.simulated_s / 3600
    figures["promotions"] += result.promotions
    figures["excused_overlaps"] += result.excused
    figures["slowest_settled_s"] = max(figures["slowest_settled_s"], result.settled_s)
    if result.problem:
        figures["violations"] += 1
        figures["failed"].append({"seed": result.seed, "problem": result.problem, "timeline": result.timeline})


def _line(figures: Dict[str, Any]) -> str:
    shown = {name: value for name, value in figures.items() if name not in ("layer", "failed")}
    return ", ".join(f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in shown.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds to run (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures = simulate(range(arguments.first, arguments.first + arguments.seeds), arguments.jobs, TOLD_EVERY)
    print(_line(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
