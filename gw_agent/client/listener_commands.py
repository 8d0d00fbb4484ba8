"""`nvmeof-gw listener ...`"""
from __future__ import annotations

from typing import Any, Optional

import click

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.client import group_view, options, tables
from gw_agent.client.api_client import ApiClient, pass_client
from gw_agent.client.options import CNODE, command, group

DEFAULT_PORT = 4420
WHERE = f"{CNODE} -t gw1 -a 10.0.0.1"


@group("listener", f"""
nvmeof-gw listener add {WHERE} -s 4420
nvmeof-gw listener list {CNODE}
""")
def listener() -> None:
    """Listeners: the addresses of gateways where hosts connect. Each gateway needs one in each subsystem."""


def _where(function: Any) -> Any:
    for option in reversed((
            options.subsystem(),
            click.option("-t", "--host-name", default="", metavar="NAME",
                         help="Host name of the gateway that listens; without one, of the gateway that answers."),
            click.option("-a", "--traddr", required=True, metavar="ADDRESS", help="Address on that host."),
            click.option("-s", "--trsvcid", type=options.PORT, default=DEFAULT_PORT, show_default=True, metavar="PORT",
                         help="Port."),
            click.option("-f", "--adrfam", type=click.Choice(["ipv4", "ipv6"]),
                         help="Address family; without it, as the address looks."))):
        function = option(function)
    return function


def _family(traddr: str, adrfam: Optional[str]) -> Any:
    return pb.AddressFamily.Value(adrfam or ("ipv6" if ":" in traddr else "ipv4"))


@command("add", f"nvmeof-gw listener add {WHERE}", listener)
@_where
@click.option("-y", "--verify-host-name", is_flag=True, help="Refuse when it is not that of the gateway that answers.")
@click.option("--secure", is_flag=True, help="TLS: only hosts with a key (`host add --psk`) can connect.")
@pass_client
def add(client: ApiClient, subsystem: str, host_name: str, traddr: str, trsvcid: int, adrfam: Optional[str],
        verify_host_name: bool, secure: bool) -> None:
    """Make a gateway listen for hosts. Any gateway of the group takes the command."""
    client.carry_out(f"Adding listener {traddr}:{trsvcid} of {subsystem}", "create_listener", pb.create_listener_req(
        nqn=subsystem, host_name=host_name, traddr=traddr, adrfam=_family(traddr, adrfam), trsvcid=trsvcid,
        secure=secure, verify_host_name=verify_host_name))


@command("del", f"nvmeof-gw listener del {WHERE}", listener)
@_where
@click.option("--force", is_flag=True, help="Allow --host-name '*': of every gateway.")
@pass_client
def delete(client: ApiClient, subsystem: str, host_name: str, traddr: str, trsvcid: int, adrfam: Optional[str],
           force: bool) -> None:
    """End a listener; hosts that are connected there lose that path."""
    client.carry_out(f"Deleting listener {traddr}:{trsvcid} of {subsystem}", "delete_listener", pb.delete_listener_req(
        nqn=subsystem, host_name=host_name, traddr=traddr, adrfam=_family(traddr, adrfam), trsvcid=trsvcid,
        force=force))


@command("list", f"nvmeof-gw listener list {CNODE}", listener)
@options.subsystem()
@pass_client
def list_listeners(client: ApiClient, subsystem: str) -> None:
    """List the listeners of all gateways, and the ANA groups that hosts find optimized there."""
    client.carry_out(f"Listing listeners of {subsystem}", "list_listeners", pb.list_listeners_req(subsystem=subsystem),
                     lambda reply: tables.listeners(reply, subsystem, group_view.known(client)))
