"""`nvmeof-gw subsystem ...`"""
from __future__ import annotations

from typing import Optional

import click

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.client import options, tables
from gw_agent.client.api_client import ApiClient, pass_client
from gw_agent.client.options import CNODE, command, group


@group("subsystem", f"""
nvmeof-gw subsystem add {CNODE} --no-group-append
nvmeof-gw subsystem list
nvmeof-gw subsystem del {CNODE}
""")
def subsystem() -> None:
    """Subsystems: what hosts connect to, and what holds namespaces."""


@command("add", f"""
nvmeof-gw subsystem add {CNODE} --no-group-append
nvmeof-gw subsystem add {CNODE} --dhchap-key cnode1.key
""", subsystem)
@options.subsystem()
@click.option("-s", "--serial-number", default="", metavar="TEXT", help="Serial number; without one, a random one.")
@click.option("-m", "--max-namespaces", type=click.IntRange(1, 1024), metavar="N",
              help="The most namespaces it can hold; without it, 256.")
@click.option("--no-group-append", is_flag=True,
              help="Take the NQN as it is, without the name of the gateway group at its end.")
@options.key("-k", "--dhchap-key", what="Key by which it proves itself to hosts (DH-HMAC-CHAP)")
@pass_client
def add(client: ApiClient, subsystem: str, serial_number: str, max_namespaces: Optional[int], no_group_append: bool,
        dhchap_key: Optional[str]) -> None:
    """Create a subsystem. The answer has the NQN that it got."""
    client.carry_out(f"Adding subsystem {subsystem}", "create_subsystem", pb.create_subsystem_req(
        subsystem_nqn=subsystem, serial_number=serial_number, max_namespaces=max_namespaces, enable_ha=True,
        no_group_append=no_group_append, dhchap_key=dhchap_key),
        lambda reply: f"Adding subsystem {reply.nqn}: successful")


@command("del", f"nvmeof-gw subsystem del {CNODE} --force", subsystem)
@options.subsystem()
@click.option("--force", is_flag=True, help="Also when it still has namespaces.")
@pass_client
def delete(client: ApiClient, subsystem: str, force: bool) -> None:
    """Delete a subsystem; the images of its namespaces stay."""
    client.carry_out(f"Deleting subsystem {subsystem}", "delete_subsystem",
                     pb.delete_subsystem_req(subsystem_nqn=subsystem, force=force))


@command("list", "nvmeof-gw --format json subsystem list", subsystem)
@options.subsystem(required=False)
@click.option("-s", "--serial-number", default="", metavar="TEXT", help="Only the one with this serial number.")
@pass_client
def list_subsystems(client: ApiClient, subsystem: str, serial_number: str) -> None:
    """List the subsystems."""
    client.carry_out("Listing subsystems", "list_subsystems", pb.list_subsystems_req(
        subsystem_nqn=subsystem, serial_number=serial_number), tables.subsystems)


@command("change_key", f"""
nvmeof-gw subsystem change_key {CNODE} --dhchap-key cnode1.key
nvmeof-gw subsystem change_key {CNODE} --no-key
""", subsystem)
@options.subsystem()
@options.new_key
@pass_client
def change_key(client: ApiClient, subsystem: str, dhchap_key: Optional[str]) -> None:
    """Change or remove the key by which a subsystem proves itself to hosts."""
    client.carry_out(f"Changing key of subsystem {subsystem}", "change_subsystem_key",
                     pb.change_subsystem_key_req(subsystem_nqn=subsystem, dhchap_key=dhchap_key))
