"""The ceph.conf of a testbed cluster.

Differs from a production cluster only where one machine and a short life ask for it; no timer that
decides a failover (mgr beacon grace, OSD heartbeat grace, Paxos interval) is changed, so that times
measured here mean something.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List

from .ceph_install import CephInstall

MEMSTORE_BYTES = 1 << 30
POOL_PG_NUM = 16


def render(install: CephInstall, fsid: str, directory: Path, run_directory: Path,
           mon_vectors: Dict[str, str], addresses: Dict[str, str]) -> str:
    """Text of ceph.conf. `mon_vectors`: mon name to its address vector `[v2:…,v1:…]`; `addresses`: by daemon
    (`osd.0`), what it binds to."""
    osds = [name for name in addresses if name.startswith('osd.')]
    lines = ['[global]']
    lines += _options(_global(fsid, directory, run_directory, mon_vectors, len(osds)))
    lines += ['', '[mon]'] + _options(_mon(directory, run_directory))
    lines += ['', '[mgr]'] + _options(_mgr(directory, run_directory))
    lines += ['', '[osd]'] + _options(_osd(install, directory, run_directory))
    for name, address in addresses.items():
        lines += ['', f'[{name}]'] + _options({'public addr': address, 'cluster addr': address})
        if name in osds:
            # One CRUSH host each: reports of a dead OSD count per host, and two of them are asked for.
            lines += _options({'crush location': f'root=default host=node{name.split(".")[1]}'})
    return '\n'.join(lines) + '\n'


def _options(options: Dict[str, object]) -> List[str]:
    return [f'{name} = {value}' for name, value in options.items()]


def _global(fsid: str, directory: Path, run_directory: Path, mon_vectors: Dict[str, str],
            osds: int) -> Dict[str, object]:
    size = min(3, osds)
    return {
        'fsid': fsid,
        'mon host': ' '.join(mon_vectors.values()),
        'mon initial members': ','.join(mon_vectors),
        'auth cluster required': 'cephx',
        'auth service required': 'cephx',
        'auth client required': 'cephx',
        'auth allow insecure global id reclaim': 'false',
        'keyring': directory / 'keyrings/$name.keyring',
        'run dir': run_directory,
        'crash dir': directory / 'crash',
        'max open files': 0,
        'osd pool default size': size,
        'osd pool default min size': 2 if size == 3 else 1,
        'osd pool default pg num': POOL_PG_NUM,
        'osd pool default pgp num': POOL_PG_NUM,
        'osd pool default pg autoscale mode': 'off',
        'osd crush chooseleaf type': 0,
        'debug ms': '0/0',
    }


def _daemon_logging(directory: Path, run_directory: Path) -> Dict[str, object]:
    return {
        'log file': directory / 'logs/$name.log',
        'log to stderr': 'false',
        'err to stderr': 'false',
        'log max recent': 500,
        'admin socket': run_directory / '$name.asok',
    }


def _mon(directory: Path, run_directory: Path) -> Dict[str, object]:
    return {
        **_daemon_logging(directory, run_directory),
        'mon data': directory / 'mon/$id',
        # The mons share one key; without a keyring at this path they switch cephx off.
        'keyring': directory / 'keyrings/mon..keyring',
        # Without this the mon writes to the system's log directory.
        'mon cluster log file': directory / 'logs/cluster.log',
        'mon allow pool size one': 'true',
        'mon allow pool delete': 'true',
        'mon warn on pool no redundancy': 'false',
        # The machine's disk may be fuller than a mon likes; a testbed's store stays small.
        'mon data avail warn': 1,
        'mon data avail crit': 1,
    }


def _mgr(directory: Path, run_directory: Path) -> Dict[str, object]:
    return {
        **_daemon_logging(directory, run_directory),
        'mgr data': directory / 'mgr/$id',
        'mgr module path': directory / 'mgr-modules',
        # By default `restful`, which needs packages that nobody here needs.
        'mgr initial modules': 'iostat',
    }


def _osd(install: CephInstall, directory: Path, run_directory: Path) -> Dict[str, object]:
    return {
        **_daemon_logging(directory, run_directory),
        'osd data': directory / 'osd/$id',
        # How long an OSD that was told to end waits for a mon to take note.
        'osd mon shutdown timeout': 0.5,
        # By default one that was marked down six times within 10 minutes ends by itself.
        'osd max markdown count': 1000,
        'osd objectstore': 'memstore',
        # By default 0.1 s for each object, as if memory were a rotating disk: an OSD that came back empty would be
        # refilled for minutes.
        'osd recovery sleep hdd': 0,
        'memstore device bytes': MEMSTORE_BYTES,
        'osd class dir': install.class_directory,
    }
