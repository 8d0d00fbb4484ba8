"""A real Ceph cluster on one machine, for as long as somebody needs one.

Promises: mons, mgrs and memstore OSDs with cephx on, everything (data, logs, keyrings, sockets) in one
private directory; several clusters run side by side; no systemd, nothing under /etc, /var or /run is
touched. What runs is written to a state file in the directory, so another process can attach to the
cluster and stop it. `stop` ends every daemon, also after a failed start.
Not promised: durability. An OSD that is killed comes back empty and is refilled by the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable, Container, Dict, List, Optional, Set

from . import ceph_conf
from .ceph_client import ADMIN, CephClient, CommandFailed, connected
from .ceph_install import CephInstall, make_mgr_module_farm
from .daemon import CLEAN_ENVIRONMENT, PROC, Daemon, stop_all
from .place import Place
from .ports import free_ports
from .waiting import WaitTimeout, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
STATE_FILE = 'testbed-state.json'
STATE_VERSION = 3
POOL = 'rbd'
TRACED_MODULE = 'nvmeof_ha'   # logs every step, so that it can be replayed (qa/conformance)
LONGEST_SOCKET_NAME = len('client.nvmeof.0123456789.asok')
LONGEST_SOCKET_PATH = 107   # sizeof(sockaddr_un.sun_path) - 1

KEY_CAPS = {   # by daemon type; all but users' keys are made before the mons' first start
    'mon.': {'mon': 'allow *'},
    ADMIN: {'mon': 'allow *', 'osd': 'allow *', 'mgr': 'allow *', 'mds': 'allow *'},
    'mgr': {'mon': 'allow profile mgr', 'osd': 'allow *', 'mds': 'allow *'},
    'osd': {'mon': 'allow profile osd', 'osd': 'allow *', 'mgr': 'allow profile osd'},
}


class ClusterError(RuntimeError):
    """The cluster could not be made, started or found."""


class Cluster:
    """Start, use and stop one cluster; a context manager that stops it at the end."""

    def __init__(self, directory: os.PathLike, mons: int = 1, mgrs: int = 2, osds: int = 3,
                 modules_dir: Optional[os.PathLike] = None,
                 place_of: Callable[[str], Place] = lambda _daemon: Place()) -> None:
        """`directory` is made and must be empty or absent at `start`; `modules_dir` holds mgr modules
        that every mgr gets besides the packaged ones (default: this checkout's). `place_of`: where the daemon
        of that name (`osd.0`) runs; whoever uses the cluster must be where it reaches them all."""
        self.directory = Path(directory).resolve()
        self.daemons: Dict[str, Daemon] = {}
        self.own_modules: List[str] = []   # names of the mgr modules found in modules_dir
        self.release = 0                   # of Ceph, as a number; known once started
        self._mon_names = [chr(ord('a') + number) for number in range(mons)]
        self._mgr_names = [chr(ord('x') + number) for number in range(mgrs)]
        self._osd_uuids = [str(uuid.uuid4()) for _ in range(osds)]
        self._place_of = place_of
        self._modules_dir = Path(modules_dir) if modules_dir else REPOSITORY / 'mgr_module'
        self._fsid = str(uuid.uuid4())
        self.run_directory = self.directory / 'run'   # of the admin sockets
        if not 1 <= mons <= 3 or not 1 <= mgrs <= 3 or osds < 1:
            raise ClusterError(f'asked for {mons} mons, {mgrs} mgrs, {osds} OSDs; possible are 1-3 mons, '
                               '1-3 mgrs and at least one OSD')
        if set('#;"\'\\ ') & set(str(self.directory)):
            raise ClusterError(f'{self.directory} has a character that ceph.conf cannot hold (space, quote, '
                               '#, ; or backslash); choose another directory')

    @property
    def conf(self) -> Path:
        """ceph.conf; with CEPH_CONF set to it `ceph` and `rbd` work as client.admin."""
        return self.directory / 'ceph.conf'

    @property
    def mgr_names(self) -> List[str]:
        return list(self._mgr_names)

    def keyring(self, entity: str = ADMIN) -> Path:
        return self.directory / 'keyrings' / f'{entity}.keyring'

    def environment(self) -> Dict[str, str]:
        """Variables for a program that is to use this cluster."""
        return {**CLEAN_ENVIRONMENT, 'CEPH_CONF': str(self.conf)}

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    # -- start and stop -----------------------------------------------------------------------------

    def start(self, progress: Callable[[str], None] = lambda _line: None) -> None:
        """Up when this returns: mons in quorum, an active and all standby mgrs, all OSDs, pool `rbd`."""
        install = CephInstall.find()
        self.release = install.release
        self._claim_directory()
        try:
            progress(f'Ceph {install.version}: writing keys and maps to {self.directory}')
            self._write_files(install)
            progress(f'starting {len(self._mon_names)} mon, {len(self._mgr_names)} mgr')
            self._start_mons_and_mgrs(install)
            with connected(self.conf) as client:
                progress(f'starting {len(self._osd_uuids)} osd')
                self._start_osds(client)
                progress(f'making pool {POOL}')
                client.mon('osd pool create', pool=POOL)
                self.run('rbd', 'pool', 'init', POOL)
                self._wait(lambda: self.mgrs_up(client), 60, 'an active mgr and its standbys')
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every daemon; the directory with logs and state stays."""
        stop_all(list(self.daemons.values()))
        if self.run_directory.parent != self.directory:
            shutil.rmtree(self.run_directory, ignore_errors=True)

    def _claim_directory(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if any(self.directory.iterdir()):
            raise ClusterError(f'{self.directory} is not empty; a cluster needs a directory of its own: '
                               'stop what runs there and remove it, or choose another')
        self.directory.chmod(0o700)
        for name in ('logs', 'keyrings', 'crash', 'mon', 'mgr', 'osd'):
            (self.directory / name).mkdir()
        if len(str(self.run_directory)) + 1 + LONGEST_SOCKET_NAME > LONGEST_SOCKET_PATH:
            self.run_directory = Path(tempfile.mkdtemp(prefix='ceph-run-', dir='/tmp'))
        self.run_directory.mkdir(mode=0o700, exist_ok=True)

    def _write_files(self, install: CephInstall) -> None:
        places = {name: self._place_of(name) for name in self._daemon_names()}
        vectors = {}
        ports: Set[int] = set()   # other mons may have the same address
        for name in self._mon_names:
            place = places[f'mon.{name}']
            with place.entered():
                first, second = free_ports(2, place.address, but=ports)
            ports |= {first, second}
            vectors[name] = f'[v2:{place.address}:{first},v1:{place.address}:{second}]'
        self.conf.write_text(ceph_conf.render(install, self._fsid, self.directory, self.run_directory, vectors,
                                              {name: place.address for name, place in places.items()}))
        for entity in ('mon.', ADMIN, *(f'mgr.{name}' for name in self._mgr_names),
                       *(f'osd.{number}' for number in range(len(self._osd_uuids)))):
            self._make_key(entity)
        self._all_keys.write_text(''.join(path.read_text() for path in
                                          sorted((self.directory / 'keyrings').iterdir())))
        monmap_options = [option for name in self._mon_names
                          for option in ('--addv', name, vectors[name])]
        self.run('monmaptool', '--create', '--fsid', self._fsid, *monmap_options,
                 str(self.directory / 'monmap'))
        self.own_modules = make_mgr_module_farm(self.directory / 'mgr-modules', self._modules_dir)

    def _daemon_names(self) -> List[str]:
        return [*(f'mon.{name}' for name in self._mon_names), *(f'mgr.{name}' for name in self._mgr_names),
                *(f'osd.{number}' for number in range(len(self._osd_uuids)))]

    @property
    def _all_keys(self) -> Path:
        return self.directory / 'mon-mkfs.keyring'

    def _make_key(self, entity: str) -> None:
        caps = KEY_CAPS.get(entity) or KEY_CAPS[entity.split('.')[0]]
        options = [word for service, cap in caps.items() for word in ('--cap', service, cap)]
        self.run('ceph-authtool', '--create-keyring', str(self.keyring(entity)), '--gen-key', '-n', entity,
                 *options)

    def _start_mons_and_mgrs(self, install: CephInstall) -> None:
        for name in self._mon_names:
            self.run('ceph-mon', '--conf', str(self.conf), '--mkfs', '-i', name, '--monmap',
                     str(self.directory / 'monmap'), '--keyring', str(self._all_keys))
            self._start_daemon('mon', name)
        environment = install.mgr_environment(self.directory / 'mgr-stubs')
        for name in self._mgr_names:
            (self.directory / 'mgr' / name).mkdir()
            self._start_daemon('mgr', name, environment)

    def _start_osds(self, client: CephClient) -> None:
        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(partial(self._start_osd, client), range(len(self._osd_uuids)), self._osd_uuids))
        self._wait(lambda: client.mon_json('osd stat')['num_up_osds'] == len(self._osd_uuids), 60, 'all OSDs up')

    def _start_osd(self, client: CephClient, number: int, osd_uuid: str) -> None:
        (self.directory / 'osd' / str(number)).mkdir()
        self.run('ceph-osd', '--conf', str(self.conf), '-i', str(number), '--mkfs', '--no-mon-config',
                 '--osd-uuid', osd_uuid)
        client.mon('osd new', uuid=osd_uuid, id=number)
        self._start_daemon('osd', str(number))

    def _start_daemon(self, kind: str, name: str, environment: Optional[Dict[str, str]] = None) -> None:
        logs = self.directory / 'logs'
        argv = [*self._place_of(f'{kind}.{name}').prefix, f'/usr/bin/ceph-{kind}', '-f', '--conf', str(self.conf),
                '-i', name]
        daemon = Daemon(f'{kind}.{name}', argv,
                        logs / f'{kind}.{name}.log', logs / f'{kind}.{name}.out', environment)
        daemon.on_start = self._save
        self.daemons[daemon.name] = daemon
        daemon.start()

    # -- state for other processes --------------------------------------------------------------------

    def _save(self) -> None:
        state = {'version': STATE_VERSION, 'release': self.release, 'fsid': self._fsid,
                 'mons': self._mon_names, 'mgrs': self._mgr_names, 'osds': self._osd_uuids,
                 'own_modules': self.own_modules, 'run_directory': str(self.run_directory),
                 'daemons': [daemon.to_state() for daemon in list(self.daemons.values())]}
        # Threads that start OSDs may save at the same moment, hence a name of its own for each.
        with tempfile.NamedTemporaryFile('w', dir=self.directory, delete=False) as new:
            json.dump(state, new, indent=1)
        os.replace(new.name, self.directory / STATE_FILE)

    @classmethod
    def attach(cls, directory: os.PathLike) -> Cluster:
        """The cluster that some process started in `directory`, running or not.

        Raises ClusterError when there is none.
        """
        state_file = Path(directory) / STATE_FILE
        try:
            state = json.loads(state_file.read_text())
        except FileNotFoundError as error:
            raise ClusterError(f'no cluster in {directory}: {state_file} is missing; vstart.sh starts '
                               'one') from error
        except ValueError as error:
            raise ClusterError(f'{state_file} is damaged ({error}); end the ceph processes that name '
                               f'{directory} by hand and remove it') from error
        if state['version'] != STATE_VERSION:
            raise ClusterError(f'{state_file} has version {state["version"]}, this checkout knows '
                               f'{STATE_VERSION}; use the checkout that started the cluster')
        cluster = cls(directory, len(state['mons']), len(state['mgrs']), len(state['osds']))
        cluster._fsid = state['fsid']
        cluster.release = state['release']
        cluster._osd_uuids = state['osds']
        cluster.own_modules = state['own_modules']
        cluster.run_directory = Path(state['run_directory'])
        for daemon_state in state['daemons']:
            daemon = Daemon.from_state(daemon_state)
            daemon.on_start = cluster._save
            cluster.daemons[daemon.name] = daemon
        return cluster

    # -- commands and questions -----------------------------------------------------------------------

    def run(self, program: str, *args: str, input: Optional[str] = None, timeout_s: float = 60) -> str:
        """Standard output of a program that uses this cluster; raises CommandFailed."""
        argv = [program, *args]
        try:
            done = subprocess.run(argv, env=self.environment(), input=input or '', timeout=timeout_s,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  errors='replace', check=False)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(argv, None, '', f'waited {timeout_s:g} s') from error
        if done.returncode:
            raise CommandFailed(argv, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def ceph(self, *args: str, input: Optional[str] = None, timeout_s: float = 60) -> str:
        """Standard output of `ceph ARGS` as client.admin; raises CommandFailed."""
        return self.run('ceph', *args, input=input, timeout_s=timeout_s)

    def ceph_json(self, *args: str, timeout_s: float = 60) -> Any:
        """The parsed answer of `ceph ARGS --format json`; raises CommandFailed."""
        return json.loads(self.ceph(*args, '--format', 'json', timeout_s=timeout_s))

    def create_user(self, name: str, caps: Dict[str, str]) -> Path:
        """Make `client.<name>` with these caps (by service: mon, osd, mgr); returns its keyring, which
        ceph.conf names too. Raises CommandFailed when the user exists with other caps."""
        entity = name if name.startswith('client.') else f'client.{name}'
        words = [word for service, cap in caps.items() for word in (service, cap)]
        self.ceph('auth', 'get-or-create', entity, *words, '-o', str(self.keyring(entity)))
        self.keyring(entity).chmod(0o600)
        return self.keyring(entity)

    def enable_module(self, name: str, timeout_s: float = 60) -> None:
        """Enable a mgr module and wait until the mgrs, which restart for that, are back with it.

        Raises ClusterError with the mons' last answer.
        """
        if not (self.directory / 'mgr-modules' / name).exists():
            raise ClusterError(f'no mgr module {name}: neither Ceph brings it nor is it in {self._modules_dir}')
        with connected(self.conf) as client:
            dump = client.mon_json('mgr dump')
            if name in dump['modules']:
                return
            if name == TRACED_MODULE:
                client.mon('config set', who='mgr', name=f'mgr/{name}/trace', value='true')

            def enable() -> bool:
                # Refused while the mgr map does not list the module yet, or a standby does not.
                client.mon('mgr module enable', module=name)
                return True

            def restarted() -> bool:
                return self.mgrs_up(client) and client.mon_json('mgr dump')['active_gid'] != dump['active_gid']
            self._wait(enable, timeout_s, f'mgr module {name} to be enabled')
            self._wait(restarted, timeout_s, f'the mgrs to come back with module {name}')

    def active_mgr(self) -> str:
        """Name of the active mgr (`x`), '' when there is none at the moment."""
        dump = self.ceph_json('mgr', 'dump')
        return dump['active_name'] if dump['available'] else ''

    def mgrs_up(self, client: Optional[CephClient] = None) -> bool:
        """An active mgr and all standbys; `client`: a connection to ask over, if there is one."""
        dump = client.mon_json('mgr dump') if client else self.ceph_json('mgr', 'dump')
        return dump['available'] and len(dump['standbys']) == len(self._mgr_names) - 1

    def is_clean(self, timeout_s: float = 60) -> bool:
        """All OSDs are up, and have told since that every object is there as often as it should be.  Raises
        CommandFailed."""
        osds = self.ceph_json('osd', 'dump', timeout_s=timeout_s)['osds']
        up_from = {osd['osd']: osd['up_from'] for osd in osds if osd['up']}   # OSD map epochs
        return len(up_from) == len(osds) and all(
            pg['state'].startswith('active+clean') and int(pg['reported_epoch']) >= max(up_from[osd] for osd in pg['up'])
            for pg in self.ceph_json('pg', 'ls', timeout_s=timeout_s)['pg_stats'])

    def _wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait, but not for a daemon that has died."""
        def condition_or_death() -> bool:
            self.check_daemons()
            return condition()
        try:
            wait_until(condition_or_death, timeout_s, what, interval_s=0.2, not_yet=(CommandFailed,))
        except WaitTimeout as error:
            raise ClusterError(f'{error}\n{self.log_tails(6)}') from error

    def check_daemons(self, down: Container[str] = ()) -> None:
        """Raises ClusterError with the last log lines of a daemon that should run and does not; those in `down` need
        not."""
        for daemon in self.daemons.values():
            if daemon.name not in down and not daemon.alive():
                raise ClusterError(f'{daemon.name} has ended by itself\n{daemon.log_tail()}')

    def log_tails(self, lines: int = 20) -> str:
        """The last lines of every daemon's log."""
        return '\n\n'.join(daemon.log_tail(lines) for daemon in self.daemons.values())


def running_clusters() -> List[Path]:
    """Directories of the testbed clusters that have a daemon running on this machine now, as seen in /proc."""
    found = set()
    for cmdline in PROC.glob('[0-9]*/cmdline'):
        try:
            words = cmdline.read_bytes().decode(errors='replace').split('\0')
        except (FileNotFoundError, ProcessLookupError):
            continue   # that process ended just now
        if Path(words[0]).name in ('ceph-mon', 'ceph-mgr', 'ceph-osd') and '--conf' in words:
            directory = Path(words[words.index('--conf') + 1]).parent
            if (directory / STATE_FILE).exists():
                found.add(directory)
    return sorted(found)
