"""`nvmeof-gw gw ...`, `spdk_log_level ...`, `get_subsystems` and `version`: about the gateway that answers."""
from __future__ import annotations

from typing import Optional

import click

from gw_agent.pb import gateway_pb2 as pb
from gw_agent.client import options, tables
from gw_agent.client.api_client import ApiClient, own_version, pass_client
from gw_agent.client.options import CNODE, command, group

GATEWAY_LEVELS = click.Choice(list(pb.GwLogLevel.keys()), case_sensitive=False)
TARGET_LEVELS = click.Choice(list(pb.LogLevel.keys()), case_sensitive=False)


@group("gw", f"""
nvmeof-gw gw info
nvmeof-gw gw listener_info {CNODE}
""")
def gw() -> None:
    """The gateway that answers."""


@command("info", "nvmeof-gw --server-address 10.0.0.2 gw info", gw)
@pass_client
def info(client: ApiClient) -> None:
    """Name, group, versions, ANA group, limits."""
    client.carry_out("Asking for the gateway's information", "get_gateway_info",
                     pb.get_gateway_info_req(cli_version=own_version()), tables.gateway)


@command("version", "nvmeof-gw gw version", gw)
@pass_client
def gateway_version(client: ApiClient) -> None:
    """Version of the gateway."""
    reply = client.look("get_gateway_info", pb.get_gateway_info_req(cli_version=own_version()))
    client.print(pb.gw_version(version=reply.version), f"Gateway's version: {reply.version}")


@command("listener_info", f"nvmeof-gw gw listener_info {CNODE}", gw)
@options.subsystem()
@pass_client
def listener_info(client: ApiClient, subsystem: str) -> None:
    """ANA states that hosts see at its listeners, asked from the target."""
    client.carry_out(f"Asking for listeners of {subsystem}", "show_gateway_listeners_info",
                     pb.show_gateway_listeners_info_req(subsystem_nqn=subsystem), tables.gateway_listeners)


@command("get_log_level", "nvmeof-gw gw get_log_level", gw)
@pass_client
def get_log_level(client: ApiClient) -> None:
    """Log level of the gateway."""
    client.carry_out("Asking for the log level", "get_gateway_log_level", pb.get_gateway_log_level_req(),
                     lambda reply: f"Gateway's log level: {pb.GwLogLevel.Name(reply.log_level)}")


@command("set_log_level", "nvmeof-gw gw set_log_level -l debug", gw)
@click.option("-l", "--level", type=GATEWAY_LEVELS, required=True, help="What is logged from now on, and worse.")
@pass_client
def set_log_level(client: ApiClient, level: str) -> None:
    """Set the log level of the gateway until it is restarted."""
    client.carry_out(f"Setting the gateway's log level to {level}", "set_gateway_log_level",
                     pb.set_gateway_log_level_req(log_level=pb.GwLogLevel.Value(level.lower())))


@group("spdk_log_level", """
nvmeof-gw spdk_log_level get
nvmeof-gw spdk_log_level set -l DEBUG
nvmeof-gw spdk_log_level disable
""")
def spdk_log_level() -> None:
    """Log of the target of the gateway that answers."""


@command("get", "nvmeof-gw spdk_log_level get", spdk_log_level)
@pass_client
def get_spdk(client: ApiClient) -> None:
    """Levels, and which flags are on."""
    client.carry_out("Asking for the target's log levels", "get_spdk_nvmf_log_flags_and_level",
                     pb.get_spdk_nvmf_log_flags_and_level_req(), tables.target_log)


@command("set", "nvmeof-gw spdk_log_level set -l DEBUG -p NOTICE", spdk_log_level)
@click.option("-l", "--level", type=TARGET_LEVELS, help="What goes to the log; without it, it stays.")
@click.option("-p", "--print", "print_level", type=TARGET_LEVELS, help="What is printed; without it, it stays.")
@pass_client
def set_spdk(client: ApiClient, level: Optional[str], print_level: Optional[str]) -> None:
    """Turn the target's nvmf log flags on, and set its levels."""
    client.carry_out("Setting the target's log levels", "set_spdk_nvmf_logs", pb.set_spdk_nvmf_logs_req(
        log_level=None if level is None else pb.LogLevel.Value(level.upper()),
        print_level=None if print_level is None else pb.LogLevel.Value(print_level.upper())))


@command("disable", "nvmeof-gw spdk_log_level disable", spdk_log_level)
@pass_client
def disable_spdk(client: ApiClient) -> None:
    """Turn the target's nvmf log flags off, and its levels back to what they are at its start."""
    client.carry_out("Disabling the target's nvmf logs", "disable_spdk_nvmf_logs", pb.disable_spdk_nvmf_logs_req())


@command("get_subsystems", "nvmeof-gw --format json get_subsystems")
@pass_client
def get_subsystems(client: ApiClient) -> None:
    """What the target of the gateway serves now, whatever is configured."""
    client.carry_out("Asking for the target's subsystems", "get_subsystems", pb.get_subsystems_req(),
                     tables.served_subsystems)


@command("version", "nvmeof-gw version")
@pass_client
def version(client: ApiClient) -> None:
    """Version of this client."""
    client.print(pb.cli_version(version=own_version()), f"CLI version: {own_version()}")


COMMANDS = (gw, spdk_log_level, get_subsystems, version)
