"""`nvmeof-gw host ...` and `nvmeof-gw connection ...`"""
from __future__ import annotations

from typing import Optional, Tuple

import click

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.client import options, tables
from gw_agent.client.api_client import ApiClient, pass_client
from gw_agent.client.options import CNODE, HOST, all_hosts, command, group


@group("host", f"""
nvmeof-gw host add {CNODE} {HOST}
nvmeof-gw host list {CNODE}
""")
def host() -> None:
    """Hosts that may connect to a subsystem. Without any, nobody may."""


@command("add", f"""
nvmeof-gw host add {CNODE} {HOST}
nvmeof-gw host add {CNODE} {HOST} --dhchap-key host1.key
nvmeof-gw host add {CNODE} -t '*'
""", host)
@options.subsystem()
@options.host_nqns
@options.key("-p", "--psk", what="Key of the host for TLS")
@options.key("-k", "--dhchap-key", what="Key by which the host proves itself (DH-HMAC-CHAP)")
@pass_client
def add(client: ApiClient, subsystem: str, host_nqn: Tuple[str, ...], more_hosts: Tuple[str, ...], psk: Optional[str],
        dhchap_key: Optional[str]) -> None:
    """Allow hosts to connect; '*' allows any host."""
    client.carry_out_each(all_hosts(host_nqn, more_hosts), lambda nqn: client.carry_out(
        f"Adding host {nqn} to {subsystem}", "add_host",
        pb.add_host_req(subsystem_nqn=subsystem, host_nqn=nqn, psk=psk, dhchap_key=dhchap_key)))


@command("del", f"nvmeof-gw host del {CNODE} {HOST}", host)
@options.subsystem()
@options.host_nqns
@pass_client
def delete(client: ApiClient, subsystem: str, host_nqn: Tuple[str, ...], more_hosts: Tuple[str, ...]) -> None:
    """Stop allowing hosts."""
    client.carry_out_each(all_hosts(host_nqn, more_hosts), lambda nqn: client.carry_out(
        f"Removing host {nqn} from {subsystem}", "remove_host",
        pb.remove_host_req(subsystem_nqn=subsystem, host_nqn=nqn)))


@command("list", f"nvmeof-gw host list {CNODE}", host)
@options.subsystem()
@pass_client
def list_hosts(client: ApiClient, subsystem: str) -> None:
    """List the hosts that may connect, and by which keys."""
    client.carry_out(f"Listing hosts of {subsystem}", "list_hosts", pb.list_hosts_req(subsystem=subsystem),
                     tables.hosts)


@command("change_key", f"""
nvmeof-gw host change_key {CNODE} {HOST} --dhchap-key host1.key
nvmeof-gw host change_key {CNODE} {HOST} --no-key
""", host)
@options.subsystem()
@click.option("-t", "--host-nqn", required=True, metavar="NQN", help="NQN of the host.")
@options.new_key
@pass_client
def change_key(client: ApiClient, subsystem: str, host_nqn: str, dhchap_key: Optional[str]) -> None:
    """Change or remove the key by which a host proves itself."""
    client.carry_out(f"Changing key of host {host_nqn} in {subsystem}", "change_host_key",
                     pb.change_host_key_req(subsystem_nqn=subsystem, host_nqn=host_nqn, dhchap_key=dhchap_key))


@group("connection", f"nvmeof-gw connection list {CNODE}")
def connection() -> None:
    """Connections of hosts to the gateway that answers."""


@command("list", f"nvmeof-gw connection list {CNODE}", connection)
@options.subsystem()
@pass_client
def list_connections(client: ApiClient, subsystem: str) -> None:
    """List the hosts of a subsystem and their connections."""
    client.carry_out(f"Listing connections of {subsystem}", "list_connections",
                     pb.list_connections_req(subsystem=subsystem), tables.connections)
