"""`nvmeof-gw top`: live I/O per namespace and ANA group, from readings of the targets' counters.

A gateway that does not answer is named and asked again with the next reading: failovers are when one looks.
"""
from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Tuple

import click

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import ha_pb2
from gw_agent.client import io_rates
from gw_agent.client.api_client import ApiClient, Failure, Format, pass_client
from gw_agent.client.connection import UNIX, Server
from gw_agent.client.io_rates import Key, Row
from gw_agent.client.options import command
from gw_agent.client.top_view import JsonLines, Lines, Reading, Screen, View

ORDERS = {"iops": lambda row: -row.load.iops, "throughput": lambda row: -row.load.moved_bytes,
          "latency": lambda row: -row.load.latency_s, "name": lambda row: 0}
"""Rows come ordered by name; of equal ones the order stays."""


@command("top", """
nvmeof-gw top
nvmeof-gw top --also 10.0.0.2 --also 10.0.0.3
nvmeof-gw top --sort latency --interval 5
nvmeof-gw --format json top --count 1
nvmeof-gw top --count 60 > load.txt
""")
@click.option("-i", "--interval", "interval_s", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True,
              metavar="SECONDS", help="Time between readings.")
@click.option("-c", "--count", type=click.IntRange(1), metavar="N",
              help="End after this many; without it, with Ctrl-C.")
@click.option("-s", "--sort", "order", type=click.Choice(list(ORDERS)), default="iops", show_default=True,
              help="Which namespaces come first.")
@click.option("-n", "--subsystem", default="", metavar="NQN", help="Only this subsystem.")
@click.option("--also", multiple=True, metavar="ADDRESS[:PORT]", help="A further gateway, or unix:PATH.")
@pass_client
def top(client: ApiClient, interval_s: float, count: Optional[int], order: str, subsystem: str,
        also: Tuple[str, ...]) -> None:
    """Live I/O of each namespace and ANA group.

    A gateway knows the I/O that goes through its own target, which is that of the ANA groups it is optimized for; name
    the others with --also to see all. On a terminal the picture is renewed in place; otherwise each reading is printed
    in lines, and with --format json as one JSON object in a line.
    """
    further = [ApiClient(_further(client.server, address), client.format) for address in also]
    watch = Watch([client, *further], subsystem)
    view: View = JsonLines() if client.format is Format.JSON else Screen() if Screen.possible() else Lines()
    try:
        watch.begin()
        for number in itertools.count(1) if count is None else range(1, count + 1):
            time.sleep(interval_s)
            reading = watch.read()
            reading.rows.sort(key=ORDERS[order])
            view.show(reading, f"every {interval_s:g} s, by {order}")
    except KeyboardInterrupt:
        view.end()
    finally:
        for gateway in further:
            gateway.close()


def _further(first: Server, address: str) -> Server:
    """The same port as the first one's where none is given."""
    port = first.target.rpartition(":")[2]
    host, colon, own_port = address.rpartition(":")
    if address.startswith(UNIX) or not own_port.isdigit() or (":" in host and not host.endswith("]")):
        host, own_port = address, port
    if not own_port.isdigit():
        raise click.UsageError(f"--also {address}: its port is not known; write {address}:5500")
    return Server.named(host, int(own_port), first.credentials)


@dataclass
class Watch:
    """The gateways that are asked, and their last counters."""

    gateways: List[ApiClient]
    subsystem: str
    _last: Dict[str, ha_pb2.io_counters_info] = field(default_factory=dict)
    _images: Dict[Key, str] = field(default_factory=dict)

    def begin(self) -> None:
        """The readings that the first rates are counted from. Raises Failure when no gateway answers."""
        failures = [failure for _, _, failure in self._ask_all() if failure is not None]
        if len(failures) == len(self.gateways):
            raise failures[0]

    def read(self) -> Reading:
        found, problems, names = [], [], []
        for before, after, failure in self._ask_all():
            if after is None:
                problems.append(str(failure))
                continue
            names.append(after.answered_by)
            rates = io_rates.of_gateway(before, after)
            if rates is None:
                problems.append(f"{after.answered_by} answers again; its I/O is shown with the next reading")
            else:
                found.append({key: row for key, row in rates.items() if self.subsystem in ("", row.nqn)})
        rows = io_rates.merged(found)
        self._learn_images(rows)
        return Reading(time.time(), names, rows, problems, self._images)

    def _ask_all(self) -> Iterator[Tuple[Optional[ha_pb2.io_counters_info], Optional[ha_pb2.io_counters_info],
                                         Optional[Failure]]]:
        """For each gateway its counters before and now, or why there are none."""
        for gateway in self.gateways:
            target = gateway.server.target
            before = self._last.pop(target, None)
            try:
                after = gateway.look("io_counters", ha_pb2.io_counters_req())
            except Failure as failure:
                yield before, None, failure
                continue
            self._last[target] = after
            yield before, after, None

    def _learn_images(self, rows: List[Row]) -> None:
        """Names of images are asked for only when a namespace is new; without an answer it has none."""
        if all((row.nqn, row.nsid) in self._images for row in rows):
            return
        self._images = {(row.nqn, row.nsid): "" for row in rows}
        for gateway in self.gateways:
            try:
                listed = gateway.look("list_namespaces", pb.list_namespaces_req(subsystem=self.subsystem))
            except Failure:
                continue
            self._images.update({(n.ns_subsystem_nqn, n.nsid): f"{n.rbd_pool_name}/{n.rbd_image_name}"
                                 for n in listed.namespaces})
            return
