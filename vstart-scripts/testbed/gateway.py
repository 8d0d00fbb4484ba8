"""One gateway of a testbed cluster: its settings, its cephx user, and the processes of its host.

A "host" is one address, which may have a network namespace of its own, and one run directory. Promises: `kill`
reaches exactly the warden, agent or target of this gateway, whoever started it; `stop` leaves none of the three. The
warden starts and watches the agent and the target by itself; nothing here restarts anything.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

from .ceph_client import CephClient, CommandFailed, connected
from .cluster import POOL, REPOSITORY, Cluster
from .daemon import PROC, Daemon, ProcessIdentity
from .place import Place
from .ports import free_ports
from .waiting import wait_until

STAND_IN_TARGET = REPOSITORY / 'qa/target_sim/nvmf_tgt'
GROUP = 'g1'
LOOPBACK = '127.0.0.1'   # a network namespace has its own
TRACE = 'trace.jsonl'   # in a gateway's directory
# The warden first: it must not restart what is killed after it.
PROCESSES = ('warden', 'agent', 'target')
FIRST_RELEASE_WITH_NVME_GW_IN_THE_MON = 20

SETTINGS = """\
[gateway]
name = {name}
group = {group}
addr = {api_address}
port = {api_port}
run_dir = {run_directory}
log_level = DEBUG
trace_file = {trace}
rebalance_period_sec = {rebalance_period_s:g}
[ceph]
pool = {pool}
config_file = {conf}
id = nvmeof.{name}
keyring = {keyring}
[spdk]
tgt_path = {target}
[discovery]
port = 0
"""


def nvme_gw(cluster: Cluster, *args: str) -> str:
    """Answer of the module's gateway command, under the name that it has in this Ceph release."""
    return cluster.ceph(nvme_gw_prefix(cluster), *args)


def nvme_gw_prefix(cluster: Cluster) -> str:
    return 'nvmeof-ha' if cluster.release >= FIRST_RELEASE_WITH_NVME_GW_IN_THE_MON else 'nvme-gw'


def target_program() -> Path:
    """The target that gateways run: $NVMF_TGT, or the stand-in."""
    return Path(os.environ.get('NVMF_TGT') or STAND_IN_TARGET).resolve()


class Gateway:
    """A gateway that `create` has made in the cluster, running or not."""

    def __init__(self, cluster: Cluster, name: str, address: str, group: str = GROUP,
                 target: Optional[Path] = None, place: Optional[Place] = None, rebalance_period_s: float = 0.0,
                 traced: bool = True) -> None:
        """`address` is the address of this gateway's listeners, and of its API where it is a loopback address, one per
        gateway; `place`: where its processes run, if not beside the caller; `traced`: what their pure parts are asked and
        answer is written down, which costs them a tenth of their time."""
        self.cluster = cluster
        self.name = name
        self.address = address
        self.group = group
        self.place = place or Place(address)
        self.target = target or target_program()
        self.rebalance_period_s = rebalance_period_s   # 0: namespaces stay in the ANA groups that they were put into
        self.traced = traced
        self.directory = cluster.directory / 'gateways' / name
        self.settings = self.directory / 'gateway.ini'
        self.run_directory = cluster.run_directory / name
        self.api_port = 0
        self.listener_port = 0   # free for the NVMe/TCP listener
        self.warden = Daemon(f'warden.{name}', [*self.place.prefix, sys.executable, '-m', 'gw_agent.warden',
                                                '--config', str(self.settings)],
                             self.directory / 'gateway.log', self.directory / 'gateway.log')
        self.warden.on_start = self._save

    @property
    def api_address(self) -> str:
        """As the processes of this gateway's host see it; from anywhere on the machine there is `api_socket`."""
        return LOOPBACK if self.place.namespace else self.address

    @property
    def api_socket(self) -> Path:
        return self.run_directory / 'api.sock'

    @property
    def rpc_socket(self) -> Path:
        """The target's JSON-RPC socket."""
        return self.run_directory / 'spdk.sock'

    def create(self) -> None:
        """Register the gateway with the module, and write its user's keyring and its settings."""
        # Here only: whoever just stops a cluster may run without the gateway's package.
        from gw_agent.ceph_client import CAPS

        self.directory.mkdir(parents=True)
        self.run_directory.mkdir(mode=0o700, exist_ok=True)
        with self.place.entered():
            self.api_port, = free_ports(1, self.api_address)
            self.listener_port, = free_ports(1, self.address, but=[self.api_port])
        keyring = self.cluster.create_user(f'nvmeof.{self.name}', {
            service: cap.format(pool=POOL) for service, cap in CAPS.items()})
        self.settings.write_text(SETTINGS.format(
            name=self.name, group=self.group, api_address=self.api_address, api_port=self.api_port,
            run_directory=self.run_directory, trace=self.directory / TRACE if self.traced else '',
            pool=POOL, conf=self.cluster.conf, keyring=keyring, target=self.target, rebalance_period_s=self.rebalance_period_s))
        nvme_gw(self.cluster, 'create', self.name, POOL, self.group)
        self._save()

    def start(self) -> None:
        """Start the warden; does not wait for the gateway to serve (see `wait_available`)."""
        self.warden.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Orderly: the warden hands over first. What is left after `timeout_s` is killed."""
        self.warden.kill(signal.SIGTERM)
        if self.warden.alive():
            # A stopped process does not see SIGTERM before it goes on.
            self.kill('all', signal.SIGCONT)
        self.warden.wait_gone(timeout_s)
        self.kill('all', signal.SIGKILL)
        wait_until(lambda: not self.processes(), 5, f'all processes of gateway {self.name} to end')

    def kill(self, which: str, signal_number: int = signal.SIGKILL) -> List[str]:
        """Send a signal to the 'warden', 'agent' or 'target', or to 'all'; returns whom it reached."""
        if which != 'all' and which not in PROCESSES:
            raise ValueError(f'asked to signal {which!r}; possible are all, {", ".join(PROCESSES)}')
        reached = []
        for kind in PROCESSES if which == 'all' else (which,):
            for process in self.processes().get(kind, []):
                if process.kill(signal_number):
                    reached.append(kind)
        return reached

    def pids(self) -> Dict[str, int]:
        """Pid by process kind, of those that run; of several targets the newest."""
        processes = self.processes()
        return {kind: max(processes[kind], key=lambda process: process.start_ticks).pid
                for kind in PROCESSES if kind in processes}

    def processes(self) -> Dict[str, List[ProcessIdentity]]:
        """The running processes of this gateway by kind, as seen in /proc, so orphans are among them."""
        found: Dict[str, List[ProcessIdentity]] = {}
        if self.warden.alive() and self.warden.identity:
            found['warden'] = [self.warden.identity]
        for cmdline in PROC.glob('[0-9]*/cmdline'):
            try:
                words = cmdline.read_bytes().decode(errors='replace').split('\0')
            except (FileNotFoundError, ProcessLookupError):
                continue   # ended just now
            kind = self._kind(words)
            identity = ProcessIdentity.of(int(cmdline.parent.name)) if kind else None
            if kind and identity and identity.alive():
                found.setdefault(kind, []).append(identity)
        return found

    def _kind(self, words: List[str]) -> str:
        if str(self.rpc_socket) in words and any(Path(word).name == self.target.name for word in words[:3]):
            return 'target'
        if str(self.settings) in words and any(word.endswith(('gw_agent.agent', 'nvmeof-gw-agent'))
                                               for word in words):
            return 'agent'
        return ''

    def availability(self, client: Optional[CephClient] = None) -> str:
        """What the module says of this gateway (AVAILABLE, ...), '' when it does not know it.  `client`: a connection to
        ask over, if there is one."""
        shown = json.loads(nvme_gw(self.cluster, 'show', POOL, self.group, '--format', 'json') if client is None else
                           client.mgr(f'{nvme_gw_prefix(self.cluster)} show', pool=POOL, group=self.group, format='json'))
        for gateway in shown.get('Created Gateways:', []):
            if gateway['gw-id'] == self.name:
                return gateway['Availability']
        return ''

    def wait_available(self, timeout_s: float = 60) -> None:
        """Wait until the module counts on this gateway. Raises WaitTimeout."""
        with connected(self.cluster.conf) as client:
            wait_until(lambda: self.availability(client) == 'AVAILABLE', timeout_s,
                       f'gateway {self.name} to become AVAILABLE (see {self.warden.log})', interval_s=0.3,
                       not_yet=(CommandFailed, ValueError))

    def log_tails(self, lines: int = 40) -> str:
        return self.warden.log_tail(lines)

    # -- state for other processes --------------------------------------------------------------------

    @property
    def _state_file(self) -> Path:
        return self.directory / 'state.json'

    def _save(self) -> None:
        state: Dict[str, Any] = {'name': self.name, 'address': self.address, 'group': self.group,
                                 'namespace': self.place.namespace,
                                 'target': str(self.target), 'api_port': self.api_port,
                                 'listener_port': self.listener_port, 'warden': self.warden.to_state()}
        new = self._state_file.with_suffix('.new')
        new.write_text(json.dumps(state, indent=1))
        new.replace(self._state_file)

    @classmethod
    def attach_all(cls, cluster: Cluster) -> List[Gateway]:
        """The gateways that some process created in this cluster, in the order of their names."""
        gateways = []
        for state_file in sorted(cluster.directory.glob('gateways/*/state.json')):
            state = json.loads(state_file.read_text())
            gateway = cls(cluster, state['name'], state['address'], state['group'], Path(state['target']),
                          Place(state['address'], state['namespace']))
            gateway.api_port, gateway.listener_port = state['api_port'], state['listener_port']
            gateway.warden = Daemon.from_state(state['warden'])
            gateway.warden.on_start = gateway._save
            gateways.append(gateway)
        return gateways
