"""``python -m sim``: run seeds in parallel, print the timeline of those that fail, optionally write figures as JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

from . import runs

KEPT = Path(__file__).with_name("seeds.txt")
"""Seeds that failed once; they run always."""


def kept_seeds() -> List[int]:
    lines = KEPT.read_text().splitlines()
    return [int(line.split("#")[0]) for line in lines if line.split("#")[0].strip()]


def simulate(seeds: List[int], jobs: int) -> Dict[str, Any]:
    """Run the seeds; returns the figures, with every failure's problem and timeline."""
    began = time.monotonic()
    with multiprocessing.Pool(jobs) as pool:
        results = list(pool.imap_unordered(runs.run, seeds, chunksize=4))
    failed = [r for r in results if r.problem]
    return {"layer": "sim", "seeds": len(seeds), "violations": len(failed),
            "simulated_hours": round(sum(r.simulated_s for r in results) / 3600, 2),
            "excused_overlaps": sum(r.excused for r in results), "seconds": round(time.monotonic() - began, 1),
            "failed": [{"seed": r.seed, "problem": r.problem, "timeline": r.timeline} for r in failed]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds to run (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    figures = simulate(list(range(arguments.first, arguments.first + arguments.seeds)), arguments.jobs)
    for failure in figures["failed"]:
        print(f"seed {failure['seed']}: {failure['problem']}\n{failure['timeline']}\n")
    print(", ".join(f"{name} {value}" for name, value in figures.items() if name not in ("layer", "failed")))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
