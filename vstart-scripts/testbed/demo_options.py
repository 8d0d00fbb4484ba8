"""The arguments of demo.sh. Needs nothing installed, so that --help works, and a mistake is found, before setup."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List, Optional

SCENARIO_NAMES = ('target-crash', 'host-loss', 'agent-crash', 'frozen-target', 'paused-host', 'orderly-stop',
                  'mgr-failover', 'namespace-moved')


def read(arguments: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='demo.sh', description='Starts a real Ceph cluster with the nvmeof_ha module, two NVMe-oF gateways and '
        'a Linux host that writes through both; then kills, stops and freezes parts of it, and shows what happens. '
        'Ends with a table and leaves nothing running.',
        epilog='The environment variable NVMF_TGT names the target program (default: qa/target_sim/nvmf_tgt, '
        'a stand-in).')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write what was measured to this file')
    parser.add_argument('--keep', action='store_true', help='leave all up at the end, and say how to use and end it')
    parser.add_argument('--scenario', choices=SCENARIO_NAMES, metavar='NAME',
                        help='play only this one: ' + ', '.join(SCENARIO_NAMES))
    return parser.parse_args(arguments)


if __name__ == '__main__':
    read()
