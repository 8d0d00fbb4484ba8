"""The MgrModule shell: options, one driver for each gateway group, commands, health.

Decides nothing.  Promises: every command is answered; ``shutdown`` returns within about two seconds even while RADOS or
the mons hang; options that break a rule never take effect, the last good ones stay in force and health says so.
"""

from __future__ import annotations

import errno
import itertools
import threading
import time
from typing import Any, Dict, List, Optional, Sequence

from mgr_module import MgrModule

from . import commands, compat, metrics, options, queries
from .core.model import Map
from .driver_loop import LOOPS, DriverLoop
from .findings import Checks
from .health import Health
from .health_mgr import MgrView, MgrWatch
from .kv_records import CREATING, GroupKey, GroupRecord, RecordError, Records, encode_group, put_command, remove_command
from .mon import MonCommandError, MonCommands
from .osd_dumps import OsdDumps
from .pauses import Pause
from .running_driver import RunningDriver
from .takeover import Identity
from .web import WebServer
from .web_app import StatusSite
from .web_feed import Feed
from .web_state import Shown

HEALTH_EVERY_S = 1.0
OSD_MAP = "osd_map"
SHUTDOWN_S = 3.0


class Module(MgrModule):
    """Found by ceph-mgr in ``nvmeof_ha/__init__.py``."""

    CLICommand = compat.CLICommand
    COMMANDS = commands.declarations(compat.COMMAND_PREFIXES)
    MODULE_OPTIONS = options.declarations()
    NOTIFY_TYPES = [OSD_MAP]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stopping = threading.Event()
        self._started = threading.Event()
        self._lock = threading.Lock()
        self._beginning = threading.Lock()
        self._drivers: Dict[GroupKey, RunningDriver] = {}
        self._health = Health()
        self._shown_checks: Optional[Checks] = None
        self._options = options.Options()
        self._option_problem = ""
        self._identity = Identity(0, 0)
        self.mon = MonCommands(self.send_command)
        self._osd_dumps = OsdDumps(self.mon)
        self.records = Records({})
        self._loops = [DriverLoop(self.log) for _ in range(LOOPS)]
        self._next_loop = itertools.cycle(self._loops)
        self._mgr_watch = MgrWatch(lambda: self.get("mgr_map"), self.mon)
        self._mgrs = MgrView()
        shown = Shown(self, self.get_mgr_id(), lambda: self._shown_checks or {})
        self._page = WebServer(lambda: options.web(self.get_localized_module_option),
                               StatusSite(Feed(shown), self.metrics_text), self.log, self.get_mgr_ip, self.set_uri)
        self.config_notify()

    # -- called by ceph-mgr -----------------------------------------------------------------------------------------

    def serve(self) -> None:
        mgr_map = self.get("mgr_map")
        self._identity = Identity(mgr_map["active_gid"], mgr_map["epoch"])
        self.records = Records(self.get_store_prefix(""))
        self.log.info("mgr %s (gid %d) looks after %d gateway groups, commands are `ceph %s ...`", self.get_mgr_id(),
                      self._identity.gid, len(self.records.groups()), compat.COMMAND_PREFIXES[0])
        self.rados  # connects, and registers the client that the mons will blocklist when this mgr is replaced
        for loop in self._loops:
            loop.start()
        for key in self.records.groups():
            self._start_driver(key)
        self._started.set()
        self._page.start()
        while not self._stopping.wait(HEALTH_EVERY_S):
            self._keep_history()
            self._report_health()

    def shutdown(self) -> None:
        self._stopping.set()
        self._page.stop()
        with self._lock:
            drivers = list(self._drivers.values())
        for driver in drivers:
            driver.stop()
        deadline = time.monotonic() + SHUTDOWN_S
        ended = [driver.join(max(0.0, deadline - time.monotonic())) for driver in drivers]
        if not self._page.join(max(0.0, deadline - time.monotonic())):
            self.log.warning("the status page's server did not end in time")
        if all(ended):
            for loop in self._loops:
                loop.stop()
            super().shutdown()
        else:
            # A thread that waits inside librados would be torn down with its client: leave both to the process's end.
            self.log.warning("%d gateway groups did not end in time", ended.count(False))

    def config_notify(self) -> None:
        found, self._option_problem = options.read(self.get_module_option, self._options)
        if self._option_problem:
            self.log.error("options are not taken: %s", self._option_problem)
        if found == self._options:
            return
        self._options = found
        with self._lock:
            drivers = list(self._drivers.values())
        for driver in drivers:
            driver.set_options(found)

    def notify(self, notify_type: str, notify_id: str) -> None:
        """Before release 17 every kind of news comes, whatever ``NOTIFY_TYPES`` says."""
        if notify_type != OSD_MAP:
            return
        with self._lock:
            drivers = list(self._drivers.values())
        for driver in drivers:
            driver.osd_map_changed()

    def handle_command(self, inbuf: str, cmd: Dict[str, Any]) -> commands.Result:
        try:
            verb = cmd["prefix"].split()[-1]
            return (queries.handle if verb in queries.VERBS else commands.handle)(self, verb, cmd)
        except RecordError as error:
            return commands.Result(-errno.EIO, "", str(error))

    # -- used by commands (commands.Groups) -------------------------------------------------------------------------

    def ready(self, timeout_s: float) -> bool:
        return self._started.wait(timeout_s)

    def driver(self, key: GroupKey) -> Optional[RunningDriver]:
        with self._lock:
            return self._drivers.get(key)

    def control_pool(self, key: GroupKey) -> str:
        """Where the group keeps its control objects, or would if it were created now."""
        record = self.records.group(key)
        return (self._options.control_pool if record is None else record.control_pool) or key.pool

    def begin_group(self, key: GroupKey) -> RunningDriver:
        """Note a new group in the KV store and look after it.  Raises ``MonCommandError``."""
        with self._beginning:  # two drivers of one group would share a ballot
            driver = self.driver(key)
            if driver is not None:
                return driver
            self._store(key.record_key, encode_group(GroupRecord(CREATING, self._options.control_pool)))
            return self._start_driver(key)

    def repair_group(self, key: GroupKey) -> RunningDriver:
        """Look after the group anew, with leave to rebuild its map."""
        with self._beginning:
            with self._lock:
                driver = self._drivers[key]
            driver.stop()
            driver.join(SHUTDOWN_S)   # what it still has under way cannot harm: ``takeover.py``
            known = [] if driver.state is None else [driver.state.map]
            return self._start_driver(key, known)

    def forget_gateway(self, key: GroupKey, gateway_id: str) -> None:
        """Remove the gateway of a group whose pool is gone, and the group with its last one.

        Raises ``MonCommandError``.
        """
        self._store(key.gateway_key(gateway_id), None)
        gateways, _ = self.records.gateways(key)
        if gateways:
            return
        with self._lock:
            driver = self._drivers.pop(key)
        driver.stop()
        driver.join(SHUTDOWN_S)
        for name in self.records.keys_of(key):
            self._store(name, None)

    # -- own --------------------------------------------------------------------------------------------------------

    def _start_driver(self, key: GroupKey, repair_with: Optional[Sequence[Map]] = None) -> RunningDriver:
        driver = RunningDriver(next(self._next_loop), key, self._identity, self.rados, self.mon, self._osd_dumps, self.records,
                               self._options, self.log, repair_with)
        with self._lock:
            self._drivers[key] = driver
        driver.start()
        driver.osd_map_changed()  # it may have changed while no mgr was there
        return driver

    def _store(self, key: str, value: Optional[str]) -> None:
        command = remove_command(key) if value is None else put_command(key, value)
        answer = self.mon.ask(command)
        if answer.code:
            raise MonCommandError(f"the mons refused {command['prefix']!r} of {command['key']}: {answer.describe()}")
        self.records.note(key, value)

    def _keep_history(self) -> None:
        with self._lock:
            drivers = dict(self._drivers)
        for key, driver in drivers.items():
            for ended in driver.history.catch_up():
                level = self.ClusterLogPrio.WARN if ended.unplanned else self.ClusterLogPrio.INFO
                self.cluster_log("cluster", level, f"nvmeof_ha {key}: {ended.sentence()}")

    def metrics_text(self, pause: Pause) -> List[bytes]:
        """For ``/metrics``; called by any thread, waits for nobody."""
        with self._lock:
            drivers = dict(self._drivers)
        seen = {key: metrics.Seen(d.status, d.measured(), d.history.totals) for key, d in drivers.items()}
        return metrics.exposition(seen, self._mgrs, self._shown_checks or {}, time.monotonic(), pause)

    def _report_health(self) -> None:
        self._mgrs = self._mgr_watch.view()
        with self._lock:
            statuses = {key: driver.history.with_problem(driver.status) for key, driver in self._drivers.items()}
        problem = self._page.problem and f"mgr {self.get_mgr_id()}: {self._page.problem}"
        checks = self._health.checks(statuses, self._option_problem, time.monotonic(), problem, self._mgrs)
        if checks != self._shown_checks:
            self._shown_checks = checks
            self.set_health_checks(checks)
