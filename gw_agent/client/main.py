"""nvmeof-gw: configure and look at the gateways of a gateway group over the API of one of them.

Verbs and options are those of existing ceph-nvmeof clients; `status` and `top` are our own. Exit code 0 when it was
done, 1 when the gateway refused or could not be reached (the reason is on stderr), 2 for wrong arguments.
"""
from __future__ import annotations

from typing import Optional, Sequence

import click
from click.shell_completion import get_completion_class

from gw_agent.client import gateway_commands, host_commands, listener_commands, namespace_commands, subsystem_commands
from gw_agent.client.api_client import ApiClient, Format, own_version
from gw_agent.client.connection import DEFAULT_ADDRESS, DEFAULT_PORT, Credentials, Server
from gw_agent.client.options import CNODE, PORT, Aliased, command, group
from gw_agent.client.status import status
from gw_agent.client.top import top

PROGRAM = "nvmeof-gw"
PEM_FILE = click.Path(exists=True, dir_okay=False, readable=True)
COMPLETION_VARIABLE = "_NVMEOF_GW_COMPLETE"
INSTALL_COMPLETION = {
    "bash": f"{PROGRAM} completion bash > /etc/bash_completion.d/{PROGRAM}    # all users; or for you, in ~/.bashrc:\n"
            f"  eval \"$({PROGRAM} completion bash)\"",
    "zsh": f"{PROGRAM} completion zsh > /usr/local/share/zsh/site-functions/_{PROGRAM}    # or for you, in ~/.zshrc:\n"
           f"  eval \"$({PROGRAM} completion zsh)\"",
    "fish": f"{PROGRAM} completion fish > ~/.config/fish/completions/{PROGRAM}.fish",
}


@group(PROGRAM, kind=Aliased, example=f"""
nvmeof-gw status
nvmeof-gw top
nvmeof-gw subsystem add {CNODE} --no-group-append
nvmeof-gw listener add {CNODE} -t gw1 -a 10.0.0.1
nvmeof-gw namespace add {CNODE} -i disk1 -c --size 10G
nvmeof-gw --server-address unix:/run/nvmeof-ha/gw1/api.sock --format json namespace list
nvmeof-gw --server-address 10.0.0.1 --client-key client.key --client-cert client.crt --server-cert server.crt gw info
""")
@click.option("--server-address", default=DEFAULT_ADDRESS, show_default=True, metavar="ADDRESS",
              envvar="CEPH_NVMEOF_SERVER_ADDRESS", show_envvar=True,
              help="Any gateway of the group, or unix:PATH: the socket api.sock in the gateway's run_dir.")
@click.option("--server-port", default=DEFAULT_PORT, show_default=True, type=PORT, metavar="PORT",
              envvar="CEPH_NVMEOF_SERVER_PORT", show_envvar=True, help="Port of its API.")
@click.option("--client-key", type=PEM_FILE, envvar="CEPH_NVMEOF_CLIENT_KEY", show_envvar=True,
              help="Private key of this client (PEM), where the API asks for certificates.")
@click.option("--client-cert", type=PEM_FILE, envvar="CEPH_NVMEOF_CLIENT_CERT", show_envvar=True,
              help="Certificate of this client (PEM).")
@click.option("--server-cert", type=PEM_FILE, envvar="CEPH_NVMEOF_SERVER_CERT", show_envvar=True,
              help="Certificate of the gateway, or of the authority that signed it (PEM).")
@click.option("--format", "output_format", default="text", show_default=True, envvar="CEPH_NVMEOF_FORMAT",
              show_envvar=True, type=click.Choice([f.value for f in Format]), help="How to print the answer.")
@click.version_option(own_version(), message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context, server_address: str, server_port: int, client_key: Optional[str],
        client_cert: Optional[str], server_cert: Optional[str], output_format: str) -> None:
    """Configure and look at the NVMe-oF gateways of a gateway group, over the API of any one of them.

    What is configured through one gateway is stored once and served by all. Options for the connection come before the
    command, or from the environment.
    """
    credentials = Credentials.read(client_key, client_cert, server_cert)
    context.obj = ApiClient(Server.named(server_address, server_port, credentials), Format(output_format))
    context.call_on_close(context.obj.close)


@command("completion", "\n".join(INSTALL_COMPLETION.values()), cli)
@click.argument("shell", type=click.Choice(sorted(INSTALL_COMPLETION)))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands and options.

    It is installed once, as below; new shells have it.
    """
    kind = get_completion_class(shell)
    assert kind is not None, shell
    click.echo(kind(cli, {}, PROGRAM, COMPLETION_VARIABLE).source())


for made in (status, top, *gateway_commands.COMMANDS, subsystem_commands.subsystem, listener_commands.listener,
             host_commands.host, host_commands.connection, namespace_commands.namespace):
    cli.add_command(made)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit code."""
    try:
        cli.main(arguments, prog_name=PROGRAM, complete_var=COMPLETION_VARIABLE)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
