"""How each kind of fault is brought about on the stage, and mended.

Promises: `play` returns when the fault is mended as far as this program can do it: what was stopped goes on, what was
killed and nobody restarts was started again; also when it is told to hurry. Whether all is well then is for others to
wait for.
"""

from __future__ import annotations

import signal
import threading
from typing import Callable, Dict, List

from testbed.cluster import POOL, CommandFailed
from testbed.daemon import Daemon
from testbed.gateway import GROUP, Gateway, nvme_gw
from testbed.stage import Stage
from testbed.waiting import wait_until

from .schedule import BY_NAME, Fault

COMMAND_S = 120
MEND_S = 120
CRASH_LOOK_S = 0.3


class Breaking:
    """Plays one fault; several may be played at once, each in a thread of its own."""

    def __init__(self, stage: Stage, fault: Fault, hurry: threading.Event) -> None:
        """`hurry`: holds end at once when it is set."""
        self._stage = stage
        self._cluster = stage.cluster
        self._fault = fault
        self._hurry = hurry

    def play(self) -> None:
        self._hurry.wait(self._fault.after_s)
        if not self._hurry.is_set():
            self._tell(f'FAULT: {self._fault.kind.name} {self._fault.gateway}')
            _ACTS[self._fault.kind.name](self)
            self._tell(f'mended: {self._fault.kind.name} {self._fault.gateway}')

    def _tell(self, text: str) -> None:
        self._stage.timeline.add(text)

    def _hold(self) -> None:
        self._hurry.wait(self._fault.hold_s)

    @property
    def _gateway(self) -> Gateway:
        return self._stage.gateways[self._fault.gateway]

    # -- gateways -------------------------------------------------------------------------------------

    def stop_processes(self) -> None:
        try:
            self._signal_all(sorted(self._fault.kind.stops, reverse=True), signal.SIGSTOP)
            self._hold()
        finally:
            self._signal_all(sorted(self._fault.kind.stops), signal.SIGCONT)

    def end_processes(self) -> None:
        """The warden first: it must not restart what is killed after it."""
        try:
            self._signal_all(sorted(self._fault.kind.ends, reverse=True), signal.SIGKILL)
            self._hold()
        finally:
            self._start_again()

    def _signal_all(self, names: List[str], number: signal.Signals) -> None:
        for name in names:
            self._gateway.kill(name, number)

    def _start_again(self) -> None:
        # Two faults may have ended the same one.
        with _starting:
            if not self._gateway.warden.alive():
                self._gateway.start()
                self._tell(f'{self._gateway.name} is started again')

    def crash_loop(self) -> None:
        """Each new target is killed, too, for a while."""
        ends = threading.Timer(self._fault.hold_s, lambda: None)
        ends.start()
        while ends.is_alive() and not self._hurry.wait(CRASH_LOOK_S):
            self._gateway.kill('target')
        ends.cancel()

    def stop_orderly(self) -> None:
        self._gateway.kill('warden', signal.SIGTERM)
        try:
            wait_until(lambda: not self._gateway.warden.alive() or self._hurry.is_set(), MEND_S,
                       f'{self._gateway.name} to end')
            self._hold()
        finally:
            self._start_again()

    def stop_and_kill(self) -> None:
        """It dies while it hands over."""
        self._gateway.kill('warden', signal.SIGTERM)
        self._hold()
        try:
            self._gateway.kill('all', signal.SIGKILL)
        finally:
            self._start_again()

    def delete_and_create(self) -> None:
        self._with_deleted(lambda: None)

    def delete_and_kill(self) -> None:
        self._with_deleted(lambda: self._gateway.kill('target'))

    def _with_deleted(self, act: Callable[[], object]) -> None:
        self._command('delete')
        try:
            self._hold()
            act()
        finally:
            self._command('create')

    def _command(self, verb: str) -> None:
        def done() -> bool:
            nvme_gw(self._cluster, verb, self._gateway.name, POOL, GROUP)
            return True
        # No mgr may be active at the moment.
        wait_until(done, COMMAND_S, f'the mgr to {verb} {self._gateway.name}', interval_s=1.0, not_yet=(CommandFailed,))

    # -- cluster --------------------------------------------------------------------------------------

    def _mgr(self) -> Daemon:
        """The active one, or any when none is."""
        name = self._cluster.active_mgr()
        return self._cluster.daemons[f'mgr.{name}'] if name else self._of_kind('mgr')[0]

    def _of_kind(self, *kinds: str) -> List[Daemon]:
        return [daemon for name, daemon in self._cluster.daemons.items() if name.split('.')[0] in kinds]

    def fail_mgr(self) -> None:
        name = self._cluster.active_mgr()
        if name:
            self._cluster.ceph('mgr', 'fail', name)

    def kill_mgr(self) -> None:
        self._kill_for_a_while([self._mgr()])

    def kill_mgrs(self) -> None:
        self._kill_for_a_while(self._of_kind('mgr'))

    def kill_osd(self) -> None:
        self._kill_for_a_while([self._osd()])
        wait_until(lambda: self._hurry.is_set() or self._clean(), MEND_S, 'all placement groups to be clean',
                   interval_s=1.0, not_yet=(CommandFailed,))

    def _clean(self) -> bool:
        """Three OSDs are up, and hold every object three times."""
        states = self._cluster.ceph_json('pg', 'stat')['pg_summary']['num_pg_by_state']
        up = self._cluster.ceph_json('osd', 'stat')['num_up_osds'] == len(self._of_kind('osd'))
        return up and all(state['name'] == 'active+clean' for state in states)

    def _osd(self) -> Daemon:
        """One, by the draw."""
        osds = self._of_kind('osd')
        return osds[int(self._fault.hold_s * 1000) % len(osds)]

    def _kill_for_a_while(self, daemons: List[Daemon]) -> None:
        names = {daemon.name for daemon in daemons}
        self._tell(f'SIGKILL of {", ".join(sorted(names))}')
        with _starting:
            self._stage.down_on_purpose |= names
        try:
            for daemon in daemons:
                daemon.kill(signal.SIGKILL)
            self._hold()
        finally:
            with _starting:
                for daemon in daemons:
                    daemon.wait_gone(5.0)
                    if not daemon.alive():
                        daemon.start()
                self._stage.down_on_purpose -= names

    def pause_mgr(self) -> None:
        self._pause([self._mgr()])

    def pause_osd(self) -> None:
        self._pause([self._osd()])

    def pause_two_osds(self) -> None:
        spared = self._osd()
        self._pause([osd for osd in self._of_kind('osd') if osd is not spared])

    def pause_osds(self) -> None:
        self._pause(self._of_kind('osd'))

    def pause_mon(self) -> None:
        self._pause(self._of_kind('mon')[:1])

    def pause_cluster(self) -> None:
        self._pause(self._of_kind('mon', 'mgr', 'osd'))

    def _pause(self, daemons: List[Daemon]) -> None:
        self._tell(f'SIGSTOP of {", ".join(daemon.name for daemon in daemons)}')
        try:
            for daemon in daemons:
                daemon.kill(signal.SIGSTOP)
            self._hold()
        finally:
            for daemon in daemons:
                daemon.kill(signal.SIGCONT)

    def mark_osd_down(self) -> None:
        self._cluster.ceph('osd', 'down', self._osd().name.split('.')[1])


# Starting what another fault's end has just started would fail.
_starting = threading.Lock()

_ACTS: Dict[str, Callable[[Breaking], None]] = {
    'crash-loop': Breaking.crash_loop,
    'stop': Breaking.stop_orderly,
    'stop-killed': Breaking.stop_and_kill,
    'delete-create': Breaking.delete_and_create,
    'delete-killed': Breaking.delete_and_kill,
    'mgr-fail': Breaking.fail_mgr,
    'kill-mgr': Breaking.kill_mgr,
    'kill-mgrs': Breaking.kill_mgrs,
    'pause-mgr': Breaking.pause_mgr,
    'pause-osd': Breaking.pause_osd,
    'pause-two-osds': Breaking.pause_two_osds,
    'pause-osds': Breaking.pause_osds,
    'kill-osd': Breaking.kill_osd,
    'osd-down': Breaking.mark_osd_down,
    'pause-mon': Breaking.pause_mon,
    'pause-cluster': Breaking.pause_cluster,
}
# The others are told by their processes.
_ACTS.update({name: Breaking.stop_processes if kind.stops else Breaking.end_processes
              for name, kind in BY_NAME.items() if name not in _ACTS})
