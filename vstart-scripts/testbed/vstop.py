"""vstop.sh: end what vstart.sh has started, and remove its directory.

Ends only processes that the cluster's state file names with pid and start time, or that carry the
cluster's own paths in their command line.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import List, Optional

from .cluster import Cluster, ClusterError, running_clusters
from .gateway import Gateway
from .vstart import MARK


def main(arguments: Optional[List[str]] = None) -> int:
    options = _options(arguments)
    if options.dir:
        directories = [options.dir.resolve()]
    else:
        directories = [directory for directory in running_clusters() if (directory / MARK).exists()]
    if not directories:
        print('vstop: nothing that vstart.sh started is running.')
        return 0
    if len(directories) > 1 and not options.all:
        print('vstop: several clusters run; choose one with --dir, or end all of them with --all:\n  '
              + '\n  '.join(map(str, directories)), file=sys.stderr)
        return 2
    try:
        for directory in directories:
            _stop(directory, options.keep)
    except ClusterError as error:
        print(f'vstop: {error}', file=sys.stderr)
        return 1
    return 0


def _options(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='vstop.sh', description='End a cluster and its gateways that vstart.sh started, and remove its '
        'directory. Without an argument: the one that runs.')
    which = parser.add_mutually_exclusive_group()
    which.add_argument('--dir', type=Path, help='the directory of the cluster to end, running or not')
    which.add_argument('--all', action='store_true', help='end every cluster that vstart.sh started')
    parser.add_argument('--keep', action='store_true', help='keep the directory with the logs')
    return parser.parse_args(arguments)


def _stop(directory: Path, keep: bool) -> None:
    cluster = Cluster.attach(directory)
    if not (directory / MARK).exists():
        raise ClusterError(f'the cluster in {directory} was not started by vstart.sh; who started it ends it')
    for gateway in Gateway.attach_all(cluster):
        print(f'ending gateway {gateway.name}', flush=True)
        gateway.stop()
    print(f'ending the cluster in {directory}', flush=True)
    cluster.stop()
    if keep:
        print(f'the logs are in {directory}')
    else:
        shutil.rmtree(directory)


if __name__ == '__main__':
    sys.exit(main())
