"""vstart.sh: start a cluster with gateways for work by hand, add a gateway to it, or say which ones run.

What it starts stays up after it; vstop.sh ends it. A start that fails or is interrupted leaves nothing
running, and says where the logs are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional

from . import status_page
from .ceph_install import CephNotInstalled
from .cluster import REPOSITORY, Cluster, ClusterError, CommandFailed, running_clusters
from .gateway import Gateway
from .waiting import WaitTimeout

MODULE = 'nvmeof_ha'
REBALANCE_PERIOD_S = 7.0   # the gateway's own default
MOST_GATEWAYS = 32   # of one group, by the controller-id ranges
EXAMPLE_NQN = 'nqn.2016-06.io.spdk:example'
MARK = 'started-by-vstart'   # a file in the directory of what vstop.sh may take as its own


def main(arguments: Optional[List[str]] = None) -> int:
    options = _options(arguments)
    if options.status:
        return _print_status()
    if options.add:
        return _add(options.dir)
    directory = options.dir or Path(tempfile.mkdtemp(prefix='nvmeof-ha-', dir='/tmp'))
    try:
        cluster = Cluster(directory, osds=options.osds)
        _start(cluster, options.gateways)
    except (ClusterError, CommandFailed, CephNotInstalled, WaitTimeout, OSError) as error:
        print(f'vstart: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nvstart: interrupted', file=sys.stderr)
        return 130
    finally:
        if not options.dir and not any(directory.iterdir()):
            directory.rmdir()
    _print_what_to_try(cluster)
    return 0


def _options(arguments: Optional[List[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='vstart.sh', description='Start a real Ceph cluster (1 mon, 2 mgrs) with the nvmeof_ha module and '
        'NVMe-oF gateways on loopback addresses. Several may run side by side; vstop.sh ends them.')
    parser.add_argument('--gateways', type=_number(0, MOST_GATEWAYS), default=2, metavar='N',
                        help='gateways to start, gw1 at 127.0.0.2 and so on (default: %(default)s)')
    parser.add_argument('--osds', type=_number(1, 16), default=3, metavar='N', help='OSDs (default: %(default)s)')
    parser.add_argument('--dir', type=Path, help='directory for all files, empty or absent (default: a new one '
                        'in /tmp); with --add that of the cluster (default: the one that runs)')
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument('--status', action='store_true', help='only list what runs')
    instead.add_argument('--add', action='store_true', help='start one more gateway in a cluster that runs, with a '
                         'listener in every subsystem that has any')
    return parser.parse_args(arguments)


def _number(least: int, most: int):
    def number(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'{text!r} is not a number from {least} to {most}')
        return int(text)
    return number


def _start(cluster: Cluster, count: int) -> None:
    started = time.monotonic()

    def say(line: str) -> None:
        print(f'[{time.monotonic() - started:5.1f} s] {line}', flush=True)

    gateways: List[Gateway] = []   # those that exist: a directory in use has some of the same names
    try:
        cluster.start(say)
        (cluster.directory / MARK).touch()
        if count:
            say(f'enabling mgr module {MODULE} with its status page')
            status_page.enable(cluster)
            cluster.enable_module(MODULE)
        for number in range(1, count + 1):
            gateway = _numbered(cluster, number)
            say(f'starting gateway {gateway.name} at {gateway.address}')
            gateway.create()
            gateways.append(gateway)
            gateway.start()
        for gateway in gateways:
            gateway.wait_available()
        say('up')
    except BaseException:
        for gateway in gateways:
            gateway.stop()
        cluster.stop()
        if cluster.daemons:
            print(f'vstart: nothing was left running; the logs are in {cluster.directory}', file=sys.stderr)
        raise


def _numbered(cluster: Cluster, number: int) -> Gateway:
    return Gateway(cluster, f'gw{number}', f'127.0.0.{number + 1}', rebalance_period_s=REBALANCE_PERIOD_S)


def _add(directory: Optional[Path]) -> int:
    from . import nvmeof_setup   # needs the gateway's package, which --status does without
    try:
        cluster = _running(directory)
        present = Gateway.attach_all(cluster)
        names = {gateway.name for gateway in present}
        number = next((n for n in range(1, MOST_GATEWAYS + 1) if f'gw{n}' not in names), 0)
        if not number:
            raise ClusterError(f'the cluster in {cluster.directory} has {MOST_GATEWAYS} gateways, as many as a group may')
        gateway = _numbered(cluster, number)
        gateway.create()
        gateway.start()
        gateway.wait_available()
        found = nvmeof_setup.listen_too(gateway)
    except (ClusterError, CommandFailed, WaitTimeout, nvmeof_setup.SetupRefused, OSError) as error:
        print(f'vstart: {error}', file=sys.stderr)
        return 1
    _print_gateways([gateway])
    print(f'  listens in {len(found)} subsystems' + ''.join(f'\n    {nqn}' for nqn in found))
    return 0


def _running(directory: Optional[Path]) -> Cluster:
    """Raises ClusterError."""
    if directory:
        return Cluster.attach(directory.resolve())
    directories = [found for found in running_clusters() if (found / MARK).exists()]
    if len(directories) != 1:
        raise ClusterError('which cluster? choose one with --dir: ' + ', '.join(map(str, directories)) if directories
                           else 'no cluster that vstart.sh started runs')
    return Cluster.attach(directories[0])


def _print_what_to_try(cluster: Cluster) -> None:
    gateways = Gateway.attach_all(cluster)
    print(f'\nFiles and logs: {cluster.directory}')
    _print_gateways(gateways)
    page = status_page.url(cluster)
    if page:
        print(f'\nStatus page: {page}')
    print(f'\nTo use it:\n  export CEPH_CONF={cluster.conf}')
    if gateways:
        first = gateways[0]
        others = ''.join(f' --also {gateway.address}:{gateway.api_port}' for gateway in gateways[1:])
        print(f'  export PATH={REPOSITORY}/.venv/bin:$PATH\n'
              f'  export CEPH_NVMEOF_SERVER_ADDRESS={first.address} CEPH_NVMEOF_SERVER_PORT={first.api_port}\n'
              '\nWhat to try next:\n  ceph -s\n'
              '  ceph nvmeof-ha status\n'
              f'  nvmeof-gw subsystem add -n {EXAMPLE_NQN} --no-group-append\n'
              f'  nvmeof-gw namespace add -n {EXAMPLE_NQN} -i image1 -c --size 64MB\n'
              f'  nvmeof-gw listener add -n {EXAMPLE_NQN} -t {first.name} -a {first.address} -s {first.listener_port}\n'
              f'  nvmeof-gw status\n'
              f'  nvmeof-gw top{others}')
        target = first.pids().get('target')
        if target:
            print(f'  kill -9 {target}     # {first.name} loses its target: look at `status` again\n'
                  '  ceph nvmeof-ha history     # what happened then, and how long each part took')
        print(f'  {REPOSITORY}/vstart-scripts/vstart.sh --add --dir {cluster.directory}     # one more gateway')
    else:
        print('\nWhat to try next:\n  ceph -s')
    print(f'  {REPOSITORY}/vstart-scripts/vstop.sh --dir {cluster.directory}')


def _print_gateways(gateways: List[Gateway]) -> None:
    for gateway in gateways:
        pids = gateway.pids()
        processes = ', '.join(f'{kind} {pids[kind]}' for kind in pids) or 'not running'
        print(f'  {gateway.name}: API {gateway.address}:{gateway.api_port}, free for a listener '
              f'{gateway.address}:{gateway.listener_port}; {processes}')


def _print_status() -> int:
    directories = running_clusters()
    for directory in directories:
        try:
            cluster = Cluster.attach(directory)
        except ClusterError as error:
            print(error)
            continue
        daemons = ', '.join(f'{name} {daemon.pid}' if daemon.alive() else f'{name} dead'
                            for name, daemon in sorted(cluster.daemons.items()))
        print(f'{directory}: {daemons}')
        _print_gateways(Gateway.attach_all(cluster))
    if not directories:
        print('No cluster runs.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
