"""What is done to the cluster's daemons: killed and started, paused, marked down or out."""

from __future__ import annotations

import signal
from typing import Any, Callable, Dict, List

from testbed.cluster import CommandFailed
from testbed.daemon import Daemon
from testbed.waiting import wait_until

from .act import MEND_S, starting
from .gateway_faults import GatewayFaults

CRASH_AFTER_S = 1.0
"""So long after the mgr's death the target dies, in the fault that has both."""
ANSWER_S = 20


class ClusterFaults(GatewayFaults):
    def _mgr(self) -> Daemon:
        """The active one, or any when none is."""
        try:
            name = self.cluster.active_mgr()
        except CommandFailed:
            name = ''
        return self.cluster.daemons[f'mgr.{name}'] if name else self.daemons('mgr')[0]

    def fail_mgr(self) -> None:
        name = self._mgr().name.split('.')[1]
        self._try_ceph('mgr', 'fail', name)

    def _try_ceph(self, *words: str) -> None:
        """Mons that are broken as well need not answer."""
        try:
            self.cluster.ceph(*words, timeout_s=ANSWER_S)
        except CommandFailed as error:
            self.tell(f'{error}')

    # -- killed ---------------------------------------------------------------------------------------

    def kill_mgr(self) -> None:
        self._kill_for_a_while([self._mgr()])

    def kill_mgr_and_target(self) -> None:
        """A decision is due while nobody can take it."""
        def crash() -> None:
            self.hurry.wait(CRASH_AFTER_S)
            self.gateway.kill('target')
        self._kill_for_a_while([self._mgr()], crash)

    def kill_mgrs(self) -> None:
        self._kill_for_a_while(self.daemons('mgr'))

    def kill_mon(self) -> None:
        self._kill_for_a_while([self.drawn('mon')])

    def kill_osd(self) -> None:
        self._kill_for_a_while([self.drawn('osd')])
        self._wait_clean()

    def kill_machine(self) -> None:
        """What might share one: the active mgr, the leader of the mons, an OSD, and a gateway."""
        leader = self._leader()
        try:
            self._kill_for_a_while([self._mgr(), leader, self.drawn('osd')], lambda: self.gateway.kill('all'))
        finally:
            self.gateway.warden.wait_gone(5.0)
            self.start_again()
        self._wait_clean()

    def _leader(self) -> Daemon:
        try:
            status: Any = self.cluster.ceph_json('quorum_status', timeout_s=ANSWER_S)
            return self.cluster.daemons[f'mon.{status["quorum_leader_name"]}']
        except CommandFailed:
            return self.daemons('mon')[0]

    def _wait_clean(self) -> None:
        wait_until(lambda: self.hurry.is_set() or self.cluster.is_clean(ANSWER_S), MEND_S, 'all placement groups to be clean',
                   interval_s=1.0, not_yet=(CommandFailed,))

    def _kill_for_a_while(self, daemons: List[Daemon], act: Callable[[], object] = lambda: None) -> None:
        names = {daemon.name for daemon in daemons}
        self.tell(f'SIGKILL of {", ".join(sorted(names))}')
        with starting:
            self.stage.down_on_purpose |= names
        try:
            for daemon in daemons:
                daemon.kill(signal.SIGKILL)
            act()
            self.hold()
        finally:
            with starting:
                for daemon in daemons:
                    daemon.wait_gone(5.0)
                    if not daemon.alive():
                        daemon.start()
                self.stage.down_on_purpose -= names

    # -- paused ---------------------------------------------------------------------------------------

    def pause_mgr(self) -> None:
        self._pause([self._mgr()])

    def pause_osd(self) -> None:
        self._pause([self.drawn('osd')])

    def pause_two_osds(self) -> None:
        spared = self.drawn('osd')
        self._pause([osd for osd in self.daemons('osd') if osd is not spared])

    def pause_osds(self) -> None:
        self._pause(self.daemons('osd'))

    def pause_mon(self) -> None:
        self._pause([self.drawn('mon')])

    def pause_cluster(self) -> None:
        self._pause(self.daemons('mon', 'mgr', 'osd'))

    def _pause(self, daemons: List[Daemon]) -> None:
        self.tell(f'SIGSTOP of {", ".join(daemon.name for daemon in daemons)}')
        try:
            for daemon in daemons:
                daemon.kill(signal.SIGSTOP)
            self.hold()
        finally:
            for daemon in daemons:
                daemon.kill(signal.SIGCONT)

    # -- told by the mons -----------------------------------------------------------------------------

    def mark_osd_down(self) -> None:
        self._try_ceph('osd', 'down', self.drawn('osd').name.split('.')[1])

    def mark_osd_out(self) -> None:
        number = self.drawn('osd').name.split('.')[1]
        self._try_ceph('osd', 'out', number)
        try:
            self.hold()
        finally:
            def back() -> bool:
                self.cluster.ceph('osd', 'in', number, timeout_s=ANSWER_S)
                return True
            wait_until(back, MEND_S, f'the mons to take osd.{number} in', interval_s=1.0, not_yet=(CommandFailed,))
        self._wait_clean()


ACTS: Dict[str, Callable[[ClusterFaults], None]] = {
    'mgr-fail': ClusterFaults.fail_mgr,
    'kill-mgr': ClusterFaults.kill_mgr,
    'kill-mgr-target': ClusterFaults.kill_mgr_and_target,
    'kill-mgrs': ClusterFaults.kill_mgrs,
    'kill-mon': ClusterFaults.kill_mon,
    'kill-osd': ClusterFaults.kill_osd,
    'kill-machine': ClusterFaults.kill_machine,
    'pause-mgr': ClusterFaults.pause_mgr,
    'pause-osd': ClusterFaults.pause_osd,
    'pause-two-osds': ClusterFaults.pause_two_osds,
    'pause-osds': ClusterFaults.pause_osds,
    'pause-mon': ClusterFaults.pause_mon,
    'pause-cluster-4': ClusterFaults.pause_cluster,
    'pause-cluster-10': ClusterFaults.pause_cluster,
    'osd-down': ClusterFaults.mark_osd_down,
    'osd-out': ClusterFaults.mark_osd_out,
}
