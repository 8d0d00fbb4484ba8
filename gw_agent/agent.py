"""nvmeof-gw-agent: carries out what the gateway map wants on the target that the warden runs.

One event loop: seat reads from the warden, beacons to the mgr, JSON-RPC to the target, the stored configuration, and
the gRPC API. It is started by its warden and may die at any time: the next one attaches to the running target as it is
and changes no ANA state that the map still permits.

Exit status: 0 when the warden closed the link or asked by SIGTERM; 1 when it cannot work; 2 for a wrong command line or
settings file.
"""
from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
import signal
import sys
from typing import Any, FrozenSet, Mapping, Optional, Tuple

import rados

from gw_agent import (ceph_client, command_line, moves, process_log, rebalancer, run_directory,
                      settings as settings_file, trace)
from gw_agent.apply_report import Report
from gw_agent.beacons import Beacons
from gw_agent.boot_clock import boottime_s
from gw_agent.config_store import ConfigStore, StoreError
from gw_agent.contexts import ContextFailed
from gw_agent.gateway_entries import GatewayEntries
from gw_agent.group_status import Known
from gw_agent.loop_lag import LoopLag
from gw_agent.move_words import MoveWords
from gw_agent.mover import Mover
from gw_agent.moves import Fences, Key
from gw_agent.notes import limited, notes
from gw_agent.path_probe import PathProbe
from gw_agent.probe_images import ProbeImages
from gw_agent.pulse import Pulse
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import RpcFailure, RpcUnreachable, SpdkRpc
from gw_agent.stuck_watch import StuckWatch
from gw_agent.target_run import TargetRun
from gw_agent.tls import CertificateError
from gw_agent.warden_client import NoWarden, WardenClient, inherited_socket
from nvmeof_ha_core import wire
from nvmeof_ha_core.events import Beacon, TargetState
from nvmeof_ha_core.model import NO_VERSION, Instance, Subsystem

log = logging.getLogger("agent")

RECONNECT_S = 1.0
RETRY_S = 0.2
OSD_OP_TIMEOUT_S = 10
API_RETRY_S = 5.0


class Agent:
    """Everything of one agent process. Implements what `api.py` asks of its gateway."""

    def __init__(self, settings: Settings, client: "rados.Rados", warden: WardenClient) -> None:
        self._settings = settings
        self._warden = warden
        # Not awaited before the first beacon: the configuration's placement group may be the one that stalls.
        self._store = asyncio.ensure_future(_open_store(settings, client))
        self._images = ProbeImages(client, settings.ceph.pool, settings.gateway.name)
        control = ceph_client.open_control(client, settings.ceph)
        self._beacons = Beacons(control, self._beacon, lambda: warden.seat_names, self._acked, settings.gateway.group)
        self._stuck = StuckWatch(settings, client, PathProbe(client, settings.gateway.name).prompt,
                                 lambda: warden.seat_names, self._served, lambda: self._beacons.soon(True))
        self._run: Optional[TargetRun] = None
        self._mover = Mover(settings.gateway.name, warden, self._store,
                            MoveWords(control, settings.gateway.group, warden.pulse.beat), lambda: self._run)
        loads = GatewayEntries(control, rebalancer.object_name(settings.gateway.group))
        self._rebalancer = rebalancer.Rebalancer(settings.gateway, warden, loads, self._mover, lambda: self._run)
        self._lag = LoopLag()
        self._asked_for = NO_VERSION
        self._said_urgent: Tuple[Any, ...] = ()
        self._was_mute = False

    async def serve(self) -> None:
        """Never returns by itself."""
        await asyncio.gather(self._beacons.run(lambda: self._warden.timing.beacon_s, self._urgent), self._follow(),
                             self._watch_urgency(), self._stuck.run(), self._lag.run(), self._mover.serve(),
                             self._rebalancer.serve(), self._serve_api())

    # -- the target -------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """One run after the other, as the warden's target comes and goes."""
        pulse = self._warden.pulse
        while True:
            seen, status = pulse.count, self._warden.status
            if status.instance is None or status.target_pid is None:
                await pulse.after(seen)
                continue
            self._run = TargetRun(self._settings, self._warden, status.instance, self._store, self._images,
                                  self._beacons.soon)
            running = asyncio.ensure_future(self._run.run())
            while not running.done() and self._warden.status.target_pid == status.target_pid:
                news = asyncio.ensure_future(pulse.after(pulse.count))
                await asyncio.wait([running, news], return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
            if not running.done():
                running.cancel()
            await asyncio.wait([running])
            self._run = None
            if running.cancelled():
                log.info("the target of %s is gone", status.instance)
                continue
            try:
                running.result()
            except (RpcFailure, ContextFailed) as error:
                log.log(logging.INFO if self._warden.status.leaving else logging.WARNING,
                        "lost the target of %s: %s", status.instance, error)
                await asyncio.sleep(RETRY_S)

    def _served(self) -> Tuple[Optional[Instance], Tuple[str, ...]]:
        """The instance whose target is attached, and the names of its contexts."""
        run = self._run
        return (None, ()) if run is None or run.contexts is None else (run.instance, run.contexts.names)

    # -- beacons ----------------------------------------------------------------------------------------------

    def _beacon(self) -> Optional[Tuple[Beacon, Optional[Tuple[Subsystem, ...]]]]:
        """Until the target was read, nothing is said of its subsystems: the mgr goes on with what it knows."""
        status, run = self._warden.status, self._run
        if (status.instance is None and not status.reaped) or self._mute():
            return None
        beacon = Beacon(gateway=self._settings.gateway.name, instance=status.instance, sequence=0,
                        leaving=status.leaving, reaped=status.reaped,
                        exposed=self._exposed(),
                        notes=notes(run, self._mover.hung(), self._warden.lease_left_s, self._lag.take()))
        if run is None or run.instance != status.instance or run.plan is None or run.contexts is None or run.ana is None:
            return beacon, None
        return Beacon(gateway=beacon.gateway, instance=beacon.instance, sequence=0, version=run.plan.version,
                      target=TargetState.STARTING if self._stuck.held_back(run.instance) else run.state,
                      stuck=self._stuck.why(run.instance), leaving=beacon.leaving, addresses=run.contexts.news,
                      confirmations=run.plan.confirmations, reaped=beacon.reaped, digest=run.ana.digest,
                      load=run.load, connections=run.connections, exposed=beacon.exposed,
                      notes=beacon.notes), run.subsystems

    def _exposed(self) -> Tuple[str, ...]:
        """What somebody opened to anybody, for the mgr's health; as much as a beacon takes."""
        gateway = self._settings.gateway
        texts = []
        if gateway.insecure_api:
            texts.append(f"the API of gateway {gateway.name} at {gateway.addr} answers anybody (insecure_api)")
        if self._run is not None:
            texts += [f"subsystem {nqn} allows any host" for nqn in self._run.open_subsystems]
        return limited(texts, "subsystems allow any host")

    def _mute(self) -> bool:
        """While the warden is silent."""
        if self._warden.silent != self._was_mute:
            self._was_mute = not self._was_mute
            log.warning("the warden says nothing: no beacons until it does" if self._was_mute else
                        "the warden is heard again: beacons go on")
        return self._was_mute

    def _urgent(self) -> bool:
        status = self._warden.status
        return self._warden.suspected or status.leaving or bool(status.reaped)

    async def _watch_urgency(self) -> None:
        """What the mgr should know at once: a new instance, a reaped one, an address, a suspicion, leaving."""
        while True:
            seen, status, run = self._warden.pulse.count, self._warden.status, self._run
            addresses = None if run is None or run.contexts is None else run.contexts.addresses
            urgent = (status.instance, status.reaped, status.leaving, self._warden.suspected, addresses)
            if urgent != self._said_urgent:
                self._said_urgent = urgent
                self._beacons.soon(True)
            await self._warden.pulse.after(seen)

    def _acked(self, beacon: Beacon, ack: wire.Ack) -> None:
        if ack.version > self._warden.view.version and ack.version != self._asked_for:
            self._asked_for = ack.version
            self._warden.read_now()
        if beacon.reaped:
            self._warden.told(beacon.reaped)

    # -- the API ----------------------------------------------------------------------------------------------

    async def _serve_api(self) -> None:
        """Imported late and in a thread: gRPC takes longer to load than a gateway may be silent."""
        loop = asyncio.get_running_loop()
        api = await loop.run_in_executor(None, importlib.import_module, "gw_agent.api")
        service = api.GatewayService(await self._store, self, self._settings)
        await asyncio.gather(self._answer(api, service),
                             service.trash.serve(lambda: None if self._run is None else self._run.held[0]))

    async def _answer(self, api: Any, service: Any) -> None:
        """Never returns."""
        while True:
            try:
                server, port = await api.start_server(service, self._settings)
                break
            except (OSError, CertificateError) as error:   # never a reason to stop serving hosts
                log.error("there is no API: %s (trying again every %g s)", error, API_RETRY_S)
                await asyncio.sleep(API_RETRY_S)
        path = os.path.join(self._settings.gateway.run_dir, "api.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"addr": self._settings.gateway.addr, "port": port}, file)
        os.replace(path + ".new", path)
        log.info("the API listens on %s port %d", self._settings.gateway.addr, port)
        await server.wait_for_termination()

    @property
    def ana_group_id(self) -> int:
        record = None if self._run is None else self._run.committed()
        return 0 if record is None else record.ana_group_id

    @property
    def rpc(self) -> SpdkRpc:
        if self._run is None or self._run.rpc is None:
            raise RpcUnreachable("no target runs; try again in a moment")
        return self._run.rpc

    def ready(self) -> Optional[str]:
        if self._warden.view.permits is None:
            return "the gateway map was not read yet"
        record = self._warden.view.permits.gateway(self._settings.gateway.name)
        if record is not None and record.instance not in (None, self._warden.status.instance):
            return f"its gateway id is in use by instance {record.instance}; another machine may run with the same id"
        if record is None:
            return (f"the gateway map does not name it; create it with: ceph nvmeof-ha create "
                    f"{self._settings.gateway.name} {self._settings.ceph.pool} {self._settings.gateway.group}")
        if self._run is None or self._run.state is not TargetState.SERVING:
            return "its target is not running or not configured yet (the log of the warden says why)"
        return None

    def ana_groups(self) -> Tuple[int, ...]:
        permits = self._warden.view.permits
        return () if permits is None else tuple(g.id for g in permits.ana_groups)

    def group_addresses(self) -> FrozenSet[str]:
        permits = self._warden.view.permits
        return frozenset() if permits is None else frozenset(a for g in permits.gateways for a in g.addresses)

    def fences(self) -> Fences:
        permits = self._warden.view.permits
        return Fences() if permits is None else moves.fences(permits)

    def known(self) -> Known:
        """What this gateway can say of the whole group, and what is not well here."""
        warden, run, instance = self._warden, self._run, self._warden.status.instance
        age_s = None if warden.agreed_s is None else boottime_s() - warden.agreed_s
        problems = [] if run is None else list(run.problems)
        stuck = "" if instance is None else self._stuck.why(instance)
        if stuck:
            problems.append(f"its I/O path is stuck: {stuck}")
        if instance is not None and warden.view.permits is not None and not warden.lease_valid:
            problems.append(f"has no valid lease (two seats agreed {age_s or 0:.1f} s ago), so all is inaccessible "
                            "here")
        ana_states = {} if run is None or run.ana is None else dict(run.ana.states)
        return Known(warden.view, age_s, ana_states, tuple(problems))

    async def apply_now(self) -> Report:
        if self._run is None:
            raise RpcUnreachable("no target runs; what is stored is applied when one does")
        return await self._run.apply_now()

    async def known_loads(self) -> Tuple[Tuple[int, ...], Mapping[Key, float]]:
        return await self._rebalancer.known_loads()

    async def pause_rebalance(self, paused: bool) -> None:
        await self._rebalancer.pause(await self._store, paused)

    async def move_namespace(self, nqn: str, nsid: int, to: int) -> None:
        await self._mover.move(nqn, nsid, to)


async def _connect(settings: Settings) -> "rados.Rados":
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await loop.run_in_executor(None, ceph_client.connect, settings.ceph,
                                              {"rados_osd_op_timeout": str(OSD_OP_TIMEOUT_S)})
        except ceph_client.CephUnreachable as error:
            log.warning("%s Trying again in %g s.", error, RECONNECT_S)
            await asyncio.sleep(RECONNECT_S)


async def _open_store(settings: Settings, client: "rados.Rados") -> ConfigStore:
    said = ""
    while True:
        try:
            return await ConfigStore.open(client, settings.ceph.pool, settings.gateway.group)
        except StoreError as error:
            if str(error) != said:
                said = str(error)
                log.warning("the stored configuration cannot be opened: %s (trying again every %g s)", error,
                            RECONNECT_S)
            await asyncio.sleep(RECONNECT_S)


async def _work(settings: Settings, tracing: trace.NoTrace) -> None:
    """Until the warden's link ends or SIGTERM comes."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)   # Ctrl-C reaches the warden too, which stops this process
    warden = WardenClient(Pulse(), tracing)
    link = asyncio.ensure_future(warden.run(inherited_socket()))

    async def serve() -> None:
        await Agent(settings, await _connect(settings), warden).serve()

    tasks = [link, asyncio.ensure_future(stopped.wait()), asyncio.ensure_future(serve())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


def _main() -> int:
    arguments = command_line.parse("nvmeof-gw-agent", "The part of a gateway that configures its target and talks to "
                                   "the mgr. Started by nvmeof-gw-warden.")
    status = command_line.answer(arguments)
    if status is not None:
        return status
    try:
        settings = settings_file.load(arguments.config)
        os.umask(run_directory.UMASK)
        process_log.start(settings.gateway, "agent")
        tracing = trace.start(settings.gateway, "agent")
        asyncio.new_event_loop().run_until_complete(_work(settings, tracing))
        return 0
    except (settings_file.SettingsError, NoWarden, OSError) as error:
        print(f"nvmeof-gw-agent: {error}", file=sys.stderr)
        return 2
    except ceph_client.CephRefused as error:
        log.error("%s", error)
        return 1
    except Exception:  # the outermost loop; the warden starts another agent
        log.exception("the agent ends on an error of its own; the warden starts another")
        return 1


def main() -> None:
    """Console script. Ends without waiting for threads: librados' may hang in a cluster that does not answer."""
    process_log.end(_main())


if __name__ == "__main__":
    main()
