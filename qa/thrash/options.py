"""The arguments of thrash.sh. Needs nothing installed, so that --help works, and a mistake is found, before setup."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional

from .schedule import BY_NAME


def read(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='thrash.sh', description='Breaks a real cluster with gateways in rounds that a seed determines, two kinds '
        'of faults at a time, and mends it, while a Linux host writes; looks for lost data, I/O errors, two optimized '
        'gateways, promotions without their fence, and what does not come back. Ends with a table and leaves nothing '
        'running.',
        epilog='The environment variable NVMF_TGT names the target program (default: the stand-in).')
    parser.add_argument('--minutes', type=float, required=True, metavar='M', help='rounds begin for this long')
    parser.add_argument('--seed', type=int, required=True, metavar='N', help='determines the rounds')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures to this file')
    parser.add_argument('--rounds', type=int, metavar='R', help='at most so many')
    parser.add_argument('--fault-seconds', type=float, default=60, metavar='S', dest='fault_s',
                        help='break things for so long in each round (default: %(default)s)')
    parser.add_argument('--heal-seconds', type=float, default=60, metavar='S', dest='heal_s',
                        help='and then leave them alone for at least so long (default: %(default)s)')
    parser.add_argument('--gateways', type=int, choices=(2, 3, 4), default=3, help='how many (default: %(default)s)')
    parser.add_argument('--mons', type=int, choices=(1, 3), default=3, help='how many (default: %(default)s)')
    parser.add_argument('--one-network', action='store_true',
                        help='run all on loopback addresses, without network namespaces and so without their faults')
    parser.add_argument('--kinds', nargs='+', choices=sorted(BY_NAME), metavar='KIND',
                        help='only these faults: ' + ', '.join(sorted(BY_NAME)))
    parser.add_argument('--keep-logs', action='store_true', help='keep the directory with all logs in any case')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    read()
