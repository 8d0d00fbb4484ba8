"""``python -m conformance LOG ... [--group POOL/GROUP] [--json FILE]``: replay logs of mgrs, traces of gateways,
and both of testbed clusters."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import check

SHOWN = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="a mgr's log, a gateway's trace file, or the "
                        "directory of a testbed cluster")
    parser.add_argument("--group", default="", metavar="POOL/GROUP", help="of the mgrs' logs only this gateway group")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    arguments = parser.parse_args()
    missing = [str(path) for path in arguments.logs if not path.exists()]
    if missing:
        parser.error(f"there is no {', '.join(missing)}")
    result = check(arguments.logs, arguments.group)
    print(result.describe())
    for violation in result.violations[:SHOWN]:
        print(violation)
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "layer": "conformance", "steps": result.steps, "calls": result.calls, "take_overs": result.take_overs,
            "violations": len(result.violations), "unjudged": result.unjudged, "log_bytes": result.log_bytes,
            "seconds": round(result.seconds, 2)}) + "\n")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
