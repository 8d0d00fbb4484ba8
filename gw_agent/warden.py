"""nvmeof-gw-warden: reads the seats, owns the lease, and is the parent of the target and the agent.

It is small on purpose (standard library and rados, one loop, nothing in it blocks), because what it promises holds only
while it runs: a target runs only for an instance that the agreed map admits, is inaccessible or dead soon after the
lease ends, and is killed when the map says that the instance is over. What it does not do: beacons, ANA changes,
configuration (all in the agent, which it restarts).

Exit status: 0 after SIGTERM or SIGINT, and when the gateway was deleted; 1 when it cannot work (the text says why);
2 for a wrong command line or settings file.
"""
from __future__ import annotations

import logging
import os
import secrets
import selectors
import signal
import sys
import time
from typing import FrozenSet, IO, List, Optional, Tuple

import rados

from gw_agent import ceph_client, command_line, process_log, run_directory, settings as settings_file, trace
from gw_agent.admission import Admission, admission
from gw_agent.agent_process import AgentProcess
from gw_agent.boot_clock import boottime_s
from gw_agent.leaving import Leaving
from gw_agent.run_directory import RunDirectory, RunDirectoryError
from gw_agent.seat_reader import SeatReader, wake_name
from gw_agent.settings import Settings
from gw_agent.side_threads import BLOCKLIST, CONTACT, MonProbe, WakeWatch, blocklisted
from gw_agent.start_pace import EARLY_S, StartPace
from gw_agent.target_guard import Ended, TargetGuard
from gw_agent.tls import CertificateError, Certificates
from gw_agent.wake_pipe import WakePipe
from gw_agent.warden_link import Status
from nvmeof_ha_core.lease import permitting
from nvmeof_ha_core.model import Instance
from nvmeof_ha_core.register import NOTHING_SEEN, View, judge, merge
from nvmeof_ha_core.timing import Timing

log = logging.getLogger("warden")

LOOK_S = 0.1
"""The lease is looked at this often."""
MON_PATIENCE_BEACONS = 2
"""Seats unheard for this many beacon periods: ask the mons."""
RECONNECT_S = 2.0
START_RETRY_S = 2.0
WORTH_A_WORD_S = 0.5
TOKEN_BYTES = 4


class Warden:
    """The loop. `run` returns the exit status."""

    def __init__(self, settings: Settings, config_path: str, client: "rados.Rados", directory: RunDirectory,
                 pipe: WakePipe, output: Optional[IO[bytes]], tracing: trace.NoTrace) -> None:
        self._settings = settings
        self._pipe = pipe
        self._trace = tracing
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ, lambda events: pipe.drain())
        control = ceph_client.open_control(client, settings.ceph)
        self._reader = SeatReader(control, settings.gateway.group, pipe.wake)
        self._guard = TargetGuard(settings.spdk, directory, self._selector, output, tracing)
        self._agent = AgentProcess(config_path, self._selector, output)
        self._wake_watch = WakeWatch(control, wake_name(settings.gateway.group), self._woken)
        self._mon_probes = (MonProbe(client, CONTACT, self._mons_answered),
                            MonProbe(client, BLOCKLIST, self._blocklist_read))
        self._read_due = self._mons_heard = False
        self._blocklisted: FrozenSet[str] = frozenset()
        self._view: View = NOTHING_SEEN
        self._view_changed = False
        self._admission = Admission(None, "")
        self._reaped: Tuple[Instance, ...] = ()
        self._said = ""
        self._waiting = ("", 0.0)
        self._round_s = 0.0
        self._pace = StartPace()
        self._start_error = ""
        self._ran = False
        self._latest: Tuple[View, float] = (NOTHING_SEEN, 0.0)
        self._leaving = Leaving()
        self._exit: Optional[int] = None
        earlier = directory.end_earlier_target()
        if earlier is not None and earlier.gateway == settings.gateway.name:
            self._reaped = (earlier,)

    @property
    def _timing(self) -> Timing:
        return Timing() if self._view.permits is None else self._view.permits.timing

    def stop(self) -> None:
        """Orderly; a second call hurries. Called from a signal handler."""
        self._leaving.asked += 1

    def run(self) -> int:
        self._wake_watch.start()
        for probe in self._mon_probes:
            probe.start()
        while self._exit is None:
            for key, events in self._selector.select(LOOK_S):
                key.data(events)
            self._turn(boottime_s())
        return self._exit

    def _turn(self, now_s: float) -> None:
        self._read_seats(now_s)
        self._ask_mons(now_s)
        ended = self._guard.turn(now_s)
        if ended is not None:
            self._target_ended(ended, now_s)
        self._admit(now_s)
        self._agent.turn(now_s)
        self._hear_agent(now_s)
        proposed = None if self._admission.candidate in self._reaped else self._admission.candidate
        self._agent.status(Status(proposed, self._guard.pid, self._reaped, self._leaving.asked > 0))
        self._leave(now_s)

    # -- seats and mons ---------------------------------------------------------------------------------------

    def _woken(self) -> None:
        """From any thread."""
        self._read_due = True
        self._pipe.wake()

    def _mons_answered(self, _answer: str) -> None:
        """From the thread that asked."""
        self._mons_heard = True
        self._pipe.wake()

    def _blocklist_read(self, answer: str) -> None:
        """From the thread that asked."""
        self._blocklisted = blocklisted(answer)
        self._mons_answered(answer)

    def _read_seats(self, now_s: float) -> None:
        for started in self._reader.collect():
            fresh = self._trace.call(judge, started.maps, self._view.version)
            before = self._view
            self._view = self._trace.call(merge, self._view, fresh)
            self._view_changed = self._view_changed or self._view != before
            self._latest = (fresh, started.sent_s)
            self._guard.seats_read(fresh, started.sent_s, now_s)
            self._agent.seats(started.sent_s, list(started.data))
            if now_s - started.sent_s > self._timing.beacon_s:
                self._read_due = True   # the seats came back from a stall: a lease needs a newer send time
        self._agent.seat_names(self._reader.names)
        if self._read_due or now_s - self._round_s >= self._timing.beacon_s:
            news, self._read_due, self._round_s = self._read_due, False, now_s
            self._reader.start_round(now_s, news)

    def _ask_mons(self, now_s: float) -> None:
        if self._mons_heard:
            self._mons_heard = False
            self._guard.mons_answered(now_s, self._fenced())
        ward = self._guard.ward
        if ward is not None and now_s - ward.contact_s > MON_PATIENCE_BEACONS * self._timing.beacon_s:
            for probe in self._mon_probes:
                probe.ask()

    def _fenced(self) -> bool:
        """A client of this target is blocklisted."""
        ward, permits = self._guard.ward, self._view.permits
        record = None if ward is None or permits is None else permits.current(ward.instance)
        return record is not None and not record.addresses.isdisjoint(self._blocklisted)

    # -- admission --------------------------------------------------------------------------------------------

    def _admit(self, now_s: float) -> None:
        if self._guard.ward is not None or self._leaving.asked:
            return
        if self._view_changed:
            self._view_changed = False
            self._judge_admission()
        waiting = self._reader.trouble or self._admission.waiting
        if waiting:
            self._say(waiting, now_s)
        elif self._pace.due(now_s) and self._admission.candidate is not None:
            self._start_target(self._admission.candidate, now_s)

    def _judge_admission(self) -> None:
        names = self._settings.gateway
        if self._view.permits is not None:
            self._reaped = tuple(i for i in self._reaped if self._view.permits.current(i) is not None
                                 or not self._view.permits.is_over(i))
        self._admission = admission(self._view, self._settings.ceph.pool, names.group, names.name,
                                    self._admission.candidate, self._reaped,
                                    lambda: secrets.token_hex(TOKEN_BYTES))
        if self._admission.deleted and self._ran:
            log.warning("gateway %s was deleted, its target has ended; nothing is left to do here. To run it again: "
                        "ceph nvmeof-ha create %s %s %s, and start this service", names.name, names.name,
                        self._settings.ceph.pool, names.group)
            self._leaving.asked = max(self._leaving.asked, 1)

    def _start_target(self, instance: Instance, now_s: float) -> None:
        fresh, sent_s = self._latest
        if not self._trace.call(permitting, fresh, instance) or now_s - sent_s > self._timing.beacon_s:
            return   # the lease begins with the read that admits the instance: wait for the next one
        self._said = ""
        try:
            self._guard.start(instance, now_s)
        except (OSError, RunDirectoryError) as error:
            if str(error) != self._start_error:
                self._start_error = str(error)
                log.error("the target %s cannot be started: %s; correct the option tgt_path in section [spdk] or what "
                          "is named here (trying again every %g s)", self._settings.spdk.tgt_path, error, START_RETRY_S)
            self._pace.not_started(now_s, START_RETRY_S)
            return
        self._pace.started(now_s)
        self._start_error = ""
        self._ran = True
        self._guard.seats_read(fresh, sent_s, now_s)

    def _target_ended(self, ended: Ended, now_s: float) -> None:
        self._reaped += (ended.instance,)
        self._view_changed = True   # who may run next is to be judged anew
        delay_s = self._pace.ended(now_s)
        if delay_s and not self._leaving.asked:
            log.error("the last %d targets have all ended within %g s of their start, this one: %s; look for what it "
                      "printed above, and at the options tgt_path and tgt_cmd_extra_args in section [spdk]. The next "
                      "one is started in %g s", self._pace.early_ends, EARLY_S, ended.how, delay_s)

    def _say(self, text: str, now_s: float) -> None:
        """Once, and only what lasts."""
        if text != self._waiting[0]:
            self._waiting = (text, now_s)
        elif text != self._said and now_s - self._waiting[1] >= WORTH_A_WORD_S:
            self._said = text
            log.info("no target yet: %s", text)

    # -- agent and end ----------------------------------------------------------------------------------------

    def _hear_agent(self, now_s: float) -> None:
        messages, self._agent.received = self._agent.received, []
        for message in messages:
            if message["say"] == "read":
                self._woken()
            elif message["say"] == "kill":
                ward = self._guard.ward
                if ward is not None and ward.instance == Instance(*message["instance"]):
                    self._guard.kill(message["reason"], now_s)
            elif message["say"] == "told":
                self._leaving.told(Instance(*instance) for instance in message["instances"])

    def _leave(self, now_s: float) -> None:
        if not self._leaving.asked:
            return
        ward = self._guard.ward
        step = self._leaving.step(None if ward is None else ward.instance, self._view, self._reaped,
                                  self._agent.running, self._timing, now_s)
        if step.stop_target:
            self._guard.stop(now_s)
        if step.kill_target:
            self._guard.kill("asked to stop twice", now_s)
        if step.stop_agent:
            self._agent.stop()
        if step.kill_agent:
            self._agent.kill()
        if step.done:
            self._exit = 0


def _main() -> int:
    arguments = command_line.parse("nvmeof-gw-warden", "Runs one NVMe-oF gateway: its target and its agent, within the "
                                   "lease that the gateway map gives.")
    status = command_line.answer(arguments)
    if status is not None:
        return status
    try:
        settings = settings_file.load(arguments.config)
        if settings.gateway.enable_auth:
            Certificates(settings.mtls)   # who starts a gateway should hear of a bad certificate, not who looks for its API
        os.umask(run_directory.UMASK)
        output = process_log.start(settings.gateway, "warden")
        tracing = trace.start(settings.gateway, "warden")
    except (settings_file.SettingsError, CertificateError, OSError) as error:
        print(f"nvmeof-gw-warden: {error}", file=sys.stderr)
        return 2
    try:
        return _serve(settings, arguments.config, output, tracing)
    except (RunDirectoryError, ceph_client.CephRefused) as error:
        log.error("%s", error)
        return 1
    except Exception:  # the outermost loop; the children die with this process
        log.exception("the warden ends on an error of its own; target and agent end with it")
        return 1


def _serve(settings: Settings, config_path: str, output: Optional[IO[bytes]], tracing: trace.NoTrace) -> int:
    directory = RunDirectory(settings.gateway.run_dir)
    pipe = WakePipe()
    stops: List[Warden] = []
    early: List[int] = []

    def on_stop(number: int, frame: object) -> None:
        early.append(number)
        for warden in stops:
            warden.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_stop)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(pipe.write_fd, warn_on_full_buffer=False)
    while not early:
        try:
            client = ceph_client.connect(settings.ceph, {})
            warden = Warden(settings, config_path, client, directory, pipe, output, tracing)
            break
        except ceph_client.CephUnreachable as error:
            log.warning("%s Trying again in %g s.", error, RECONNECT_S)
            time.sleep(RECONNECT_S)
    else:
        return 0
    log.info("warden of gateway %s in group %s/%s", settings.gateway.name, settings.ceph.pool, settings.gateway.group)
    stops.append(warden)
    if early:
        warden.stop()
    status = warden.run()
    directory.remove_keys()
    return status


def main() -> None:
    """Console script. Ends without waiting for threads: librados' may hang in a cluster that does not answer."""
    process_log.end(_main())


if __name__ == "__main__":
    main()
