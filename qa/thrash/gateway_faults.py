"""What is done to a gateway: its processes stopped, killed and started, and the operator's commands."""

from __future__ import annotations

import signal
import threading
from typing import Callable, Dict, Iterable

from testbed.cluster import CommandFailed
from testbed.waiting import wait_until

from .act import MEND_S, Act, starting

CRASH_LOOK_S = 0.3
CONTEXT_SOCKET = 'nvmeof_ha.0.asok'
SOCKET_S = 10


class GatewayFaults(Act):
    def stop_processes(self) -> None:
        try:
            self._signal_all(sorted(self.fault.kind.stops, reverse=True), signal.SIGSTOP)
            self.hold()
        finally:
            self._signal_all(sorted(self.fault.kind.stops), signal.SIGCONT)

    def end_processes(self) -> None:
        """The warden first: it must not restart what is killed after it."""
        try:
            self._signal_all(sorted(self.fault.kind.ends, reverse=True), signal.SIGKILL)
            self.hold()
        finally:
            self.start_again()

    def _signal_all(self, names: Iterable[str], number: signal.Signals) -> None:
        for name in names:
            self.gateway.kill(name, number)

    def start_again(self) -> None:
        # Two faults may have ended the same one.
        with starting:
            if not self.gateway.warden.alive():
                self.gateway.start()
                self.tell(f'{self.gateway.name} is started again')

    def crash_loop(self) -> None:
        """Each new target is killed, too, for a while."""
        ends = threading.Timer(self.fault.hold_s, lambda: None)
        ends.start()
        while ends.is_alive() and not self.hurry.wait(CRASH_LOOK_S):
            self.gateway.kill('target')
        ends.cancel()

    def stop_orderly(self) -> None:
        self.gateway.kill('warden', signal.SIGTERM)
        try:
            wait_until(lambda: not self.gateway.warden.alive(), MEND_S, f'{self.gateway.name} to end')
            self.hold()
        finally:
            self.start_again()

    def stop_and_kill(self) -> None:
        """It dies while it hands over."""
        self.gateway.kill('warden', signal.SIGTERM)
        self.hold()
        try:
            self.gateway.kill('all', signal.SIGKILL)
        finally:
            self.gateway.warden.wait_gone(5.0)
            self.start_again()

    def blind_context(self) -> None:
        """The target's first RADOS client hears nothing of any OSD; its mons, the agent and the warden go on."""
        before = self.gateway.pids().get('target')
        self._set_blackhole('true')
        try:
            self.hold()
        finally:
            # A target that was replaced meanwhile has new clients.
            if self.gateway.pids().get('target') == before:
                self._set_blackhole('false')

    def _set_blackhole(self, value: str) -> None:
        socket = self.gateway.run_directory / CONTEXT_SOCKET
        try:
            self.cluster.run('ceph', '--admin-daemon', str(socket), 'config', 'set', 'ms_blackhole_osd', value,
                             timeout_s=SOCKET_S)
        except CommandFailed as error:
            self.tell(f'{error}')   # no target at the moment

    # -- commands -------------------------------------------------------------------------------------

    def delete_and_create(self) -> None:
        self._between('delete', lambda: None, 'create')

    def delete_and_kill(self) -> None:
        self._between('delete', lambda: self.gateway.kill('target'), 'create')

    def disable_and_enable(self) -> None:
        self._between('disable', lambda: None, 'enable')

    def _between(self, verb: str, act: Callable[[], object], undo: str) -> None:
        self.command(verb, self.fault.gateway, 'PLACE')
        try:
            self.hold()
            act()
        finally:
            self.command(undo, self.fault.gateway, 'PLACE')

    def move_and_return(self) -> None:
        """The ANA group that the gateway owns, to whom the mgr chooses."""
        self.try_command('failover', 'PLACE', str(self.ana_group))
        try:
            self.hold()
        finally:
            self.command('failover', 'PLACE', str(self.ana_group), self.fault.gateway)


ACTS: Dict[str, Callable[[GatewayFaults], None]] = {
    'crash-loop': GatewayFaults.crash_loop,
    'stop': GatewayFaults.stop_orderly,
    'stop-killed': GatewayFaults.stop_and_kill,
    'delete-create': GatewayFaults.delete_and_create,
    'delete-killed': GatewayFaults.delete_and_kill,
    'disable-enable': GatewayFaults.disable_and_enable,
    'failover': GatewayFaults.move_and_return,
    'stuck-context': GatewayFaults.blind_context,
}
