"""A Linux NVMe/TCP host with native multipath: connects to gateways, says what its kernel sees, runs stamped writers.

All methods raise GuestError, with the end of the guest's kernel log, when the guest does not do what was asked.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from guest.guest import Guest, GuestError, GuestTimeout
from guest.writer import Writer

CONNECT_S, WAIT_S = 60, 90
POLL_S = 0.1
# The kernel's own default. Within this time a controller that lost its gateway comes back; after it the path is gone for
# good, and with the last path the namespace: only then does I/O that found no usable path fail.
CTRL_LOSS_TMO_S = 600


class Path(NamedTuple):
    """One controller's way to one namespace; a controller without namespaces has nsid 0 and no name."""
    controller: str
    address: str
    port: int
    state: str          # of the controller: live, connecting, ...
    nsid: int
    name: str           # nvme0c1n1
    ana_state: str      # optimized, inaccessible, ...; the last one known while the controller is not live


def transport_field(address: str, field: str) -> str:
    """From the kernel's "traddr=127.0.0.2,trsvcid=4420,src_addr=10.0.2.15"."""
    return dict(part.partition("=")[::2] for part in address.split(",")).get(field, "")


class LinuxHost:
    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def connect(self, address: str, port: int, nqn: str, ctrl_loss_tmo_s: int = CTRL_LOSS_TMO_S, keep_alive_s: int = 5,
                reconnect_delay_s: int = 2) -> None:
        self.guest.check(f"nvme connect -t tcp -a {address} -s {port} -n {nqn} --ctrl-loss-tmo={ctrl_loss_tmo_s} "
                         f"--keep-alive-tmo={keep_alive_s} --reconnect-delay={reconnect_delay_s}", CONNECT_S)

    def disconnect(self, nqn: str) -> None:
        """Removes all controllers of a subsystem."""
        self.guest.check(f"nvme disconnect -n {nqn}", CONNECT_S)

    def state(self) -> list[list[str]]:
        """What nvme-state prints, as fields."""
        return [line.split("\t") for line in self.guest.check("nvme-state").splitlines()]

    def paths(self, nqn: str) -> list[Path]:
        """One for each controller and namespace of a subsystem, ordered by namespace."""
        rows = self.state()
        found = []
        for controller, row_nqn, address, state in (row[1:] for row in rows if row[0] == "controller"):
            if row_nqn != nqn:
                continue
            where = (controller, transport_field(address, "traddr"), int(transport_field(address, "trsvcid") or 0), state)
            own = [row[1:] for row in rows if row[0] == "path" and row[2] == controller]
            found += [Path(*where, int(nsid) if nsid.isdigit() else 0, name, ana) for name, _, nsid, ana in own]
            if not own:
                found.append(Path(*where, 0, "", ""))
        return sorted(found, key=lambda path: (path.nsid, path.address, path.port, path.controller))

    def namespaces(self, nqn: str) -> dict[int, str]:
        """Block devices of a subsystem by namespace id."""
        return {int(row[3]): f"/dev/{row[1]}" for row in self.state()
                if row[0] == "namespace" and row[2] == nqn and row[3].isdigit()}

    def wait_for_paths(self, nqn: str, count: int, nsids: tuple[int, ...] = (), timeout_s: float = WAIT_S) -> list[Path]:
        """Waits until each of the namespaces (of those there are, at least one, if none is named) has `count` live paths."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            paths = self.paths(nqn)
            live = [path.nsid for path in paths if path.state == "live" and path.nsid]
            wanted = nsids or tuple({path.nsid for path in paths if path.nsid})
            if wanted and all(live.count(nsid) == count for nsid in wanted):
                return paths
            if time.monotonic() > deadline_s:
                raise GuestTimeout(f"guest {self.guest.name} has not {count} live paths to namespaces {wanted or 'any'} of "
                                   f"{nqn} after {timeout_s:g} s but {paths}\n{self.guest.dmesg()}")
            time.sleep(POLL_S)

    def start_writer(self, nqn: str, nsid: int, run_id: str = "", slots_mib: int = 8, block_bytes: int = 4096, depth: int = 2,
                     interval_us: int = 20_000) -> Writer:
        """A stamped writer on a namespace (see Writer.start)."""
        devices = self.namespaces(nqn)
        if nsid not in devices:
            raise GuestError(f"guest {self.guest.name} has no namespace {nsid} of {nqn} but {devices}: "
                             f"wait_for_paths first\n{self.guest.dmesg()}")
        return Writer.start(self.guest, devices[nsid], device_id=nsid, run_id=run_id, slots_mib=slots_mib,
                            block_bytes=block_bytes, depth=depth, interval_us=interval_us)
