"""The arguments of thrash.sh. Needs nothing installed, so that --help works, and a mistake is found, before setup."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional

from .schedule import BY_NAME


def read(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='thrash.sh', description='Breaks and mends parts of a real cluster with three gateways, in rounds that a '
        'seed determines, while a Linux host writes; looks for lost data, I/O errors, two optimized gateways, and what '
        'does not come back. Ends with a table and leaves nothing running.',
        epilog='The environment variable NVMF_TGT names the target program (default: the stand-in).')
    parser.add_argument('--minutes', type=float, required=True, metavar='M', help='rounds begin for this long')
    parser.add_argument('--seed', type=int, required=True, metavar='N', help='determines the rounds')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures to this file')
    parser.add_argument('--mons', type=int, choices=(1, 3), default=1, help='how many mons (default: %(default)s)')
    parser.add_argument('--kinds', nargs='+', choices=sorted(BY_NAME), metavar='KIND',
                        help='only these faults: ' + ', '.join(sorted(BY_NAME)))
    parser.add_argument('--keep-logs', action='store_true', help='keep the directory with all logs in any case')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    read()
