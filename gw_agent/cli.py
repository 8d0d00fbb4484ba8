"""nvmeof-gw-cli: configure and look at the gateways of a gateway group over the gRPC API of one of them.

Commands and options are those of the existing ceph-nvmeof client as far as this version offers them. Exit code 0 when
it was done, 1 when the gateway refused or could not be reached (the reason is on stderr), 2 for wrong arguments.
"""
from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any, Callable, Optional, Sequence

import grpc
from google.protobuf import json_format

from gw_agent import cli_tables
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc

CALL_TIMEOUT_S = 60.0
"""A change waits for the lock of another gateway's change, and for the target."""
UNITS = {"": 20, "K": 10, "M": 20, "G": 30, "T": 40}


class Failure(Exception):
    """The text for stderr."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit code."""
    arguments = _parser().parse_args(argv)
    address = arguments.server_address
    target = f"[{address}]:{arguments.server_port}" if ":" in address else f"{address}:{arguments.server_port}"
    try:
        with grpc.insecure_channel(target) as channel:
            request, method = arguments.request(arguments), arguments.method
            reply = getattr(gateway_pb2_grpc.GatewayStub(channel), method)(request, timeout=CALL_TIMEOUT_S)
        _print(arguments, reply)
    except grpc.RpcError as error:
        reason = f"{error.code().name}: {error.details()}"
        print(f"nvmeof-gw-cli: the gateway at {target} did not answer {arguments.method}: {reason}", file=sys.stderr)
        return 1
    except Failure as error:
        print(f"nvmeof-gw-cli: {error}", file=sys.stderr)
        return 1
    return 0


def _print(arguments: argparse.Namespace, reply: Any) -> None:
    """Prints the reply; raises Failure when its status says so."""
    if arguments.format == "json":
        print(json.dumps(json_format.MessageToDict(
            reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True), indent=4))
    if reply.status:
        raise Failure(f"{arguments.what(arguments)}: failed: {reply.error_message}")
    if arguments.format == "text":
        print(arguments.text(reply) if arguments.text else f"{arguments.what(arguments)}: successful")
        if reply.error_message:
            print(f"Note: {reply.error_message}")


def size_in_bytes(text: str) -> int:
    """`10G`, `512MB`, `20 MiB`; a number alone is in MiB, as in existing clients. Units are powers of 1024."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"size '{text}' is not a number with a unit such as 512MB, 10G or 1TB")
    return int(match[1]) << UNITS[match[2]]


def number(least: int, most: int) -> Callable[[str], int]:
    """An argument type: a whole number in a range."""
    def read(text: str) -> int:
        if not re.fullmatch(r"\d+", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {least} to {most}")
        return int(text)
    return read


NSID = number(1, 0xfffffffe)
PORT = number(1, 65535)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nvmeof-gw-cli", description=__doc__.split("\n\n")[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--server-address", default="localhost", metavar="A", help="address of a gateway")
    parser.add_argument("--server-port", default=5500, type=PORT, metavar="P", help="port of its gRPC API")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="how to print the answer")
    nouns = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_gateway, _add_subsystem, _add_listener, _add_namespace, _add_host):
        add(nouns)
    return parser


def _verbs(nouns: Any, noun: str, text: str, aliases: Sequence[str] = ()) -> Any:
    return nouns.add_parser(noun, help=text, aliases=list(aliases)).add_subparsers(required=True, metavar="ACTION")


def _command(verbs: Any, verb: str, text: str, method: str, request: Any, what: str = "",
             show: Any = None) -> argparse.ArgumentParser:
    """`request(arguments)` makes the message, `what` (a template of the arguments) names the command in its result,
    `show(reply)` is the text of a listing."""
    command = verbs.add_parser(verb, help=text, description=text)
    command.set_defaults(method=method, request=request, text=show,
                         what=lambda arguments: what.format(**vars(arguments)) if what else method)
    return command


def _nqn(command: argparse.ArgumentParser, required: bool = True) -> None:
    command.add_argument("-n", "--subsystem", required=required, default="" if not required else None, metavar="NQN",
                         help="NQN of the subsystem")


def _add_gateway(nouns: Any) -> None:
    verbs = _verbs(nouns, "gw", "the gateway that answers")
    _command(verbs, "info", "name, version and ANA group of the gateway", "get_gateway_info",
             lambda a: pb.get_gateway_info_req(), show=cli_tables.gateway)
    command = _command(verbs, "listener_info", "ANA states that hosts see at the gateway's listeners",
                       "show_gateway_listeners_info",
                       lambda a: pb.show_gateway_listeners_info_req(subsystem_nqn=a.subsystem),
                       show=cli_tables.gateway_listeners)
    _nqn(command)


def _add_subsystem(nouns: Any) -> None:
    verbs = _verbs(nouns, "subsystem", "subsystems")
    command = _command(verbs, "add", "create a subsystem", "create_subsystem", lambda a: pb.create_subsystem_req(
        subsystem_nqn=a.subsystem, serial_number=a.serial_number, max_namespaces=a.max_namespaces, enable_ha=True,
        no_group_append=a.no_group_append), "Adding subsystem {subsystem}", show=cli_tables.created_subsystem)
    _nqn(command)
    command.add_argument("-s", "--serial-number", default="", help="serial number; without one, a random one")
    command.add_argument("-m", "--max-namespaces", type=number(1, 1024),
                         help="the most namespaces it can hold; without: 256")
    command.add_argument("--no-group-append", action="store_true",
                         help="take the NQN as it is, without the name of the gateway group at its end")
    command = _command(verbs, "del", "delete a subsystem", "delete_subsystem", lambda a: pb.delete_subsystem_req(
        subsystem_nqn=a.subsystem, force=a.force), "Deleting subsystem {subsystem}")
    _nqn(command)
    command.add_argument("--force", action="store_true", help="also when it still has namespaces")
    command = _command(verbs, "list", "list the subsystems", "list_subsystems", lambda a: pb.list_subsystems_req(
        subsystem_nqn=a.subsystem, serial_number=a.serial_number), show=cli_tables.subsystems)
    _nqn(command, required=False)
    command.add_argument("-s", "--serial-number", default="", help="only the one with this serial number")


def _add_listener(nouns: Any) -> None:
    verbs = _verbs(nouns, "listener", "listeners: where hosts connect")
    for verb, text, method, message, what in (
            ("add", "make a gateway listen", "create_listener", pb.create_listener_req, "Adding"),
            ("del", "end a listener", "delete_listener", pb.delete_listener_req, "Deleting")):
        command = _command(verbs, verb, text, method, _listener_request(message),
                           what + " listener {traddr}:{trsvcid} of {subsystem}")
        _nqn(command)
        command.add_argument("-t", "--host-name", default="", metavar="NAME",
                             help="host name of the gateway that listens; without one, of the gateway that answers")
        command.add_argument("-a", "--traddr", required=True, metavar="ADDRESS", help="address on that host")
        command.add_argument("-s", "--trsvcid", type=PORT, default=4420, metavar="PORT", help="port (default: 4420)")
        command.add_argument("-f", "--adrfam", choices=("ipv4", "ipv6"), default="ipv4",
                             help="address family (default: ipv4)")
        if verb == "del":
            command.add_argument("--force", action="store_true", help="allow --host-name '*': of every gateway")
    command = _command(verbs, "list", "list the listeners of all gateways", "list_listeners",
                       lambda a: pb.list_listeners_req(subsystem=a.subsystem), show=cli_tables.listeners)
    _nqn(command)


def _listener_request(message: Any) -> Any:
    def make(arguments: argparse.Namespace) -> Any:
        request = message(nqn=arguments.subsystem, host_name=arguments.host_name, traddr=arguments.traddr,
                          adrfam=pb.AddressFamily.Value(arguments.adrfam), trsvcid=arguments.trsvcid)
        if getattr(arguments, "force", False):
            request.force = True
        return request
    return make


def _add_namespace(nouns: Any) -> None:
    verbs = _verbs(nouns, "namespace", "namespaces: RBD images in a subsystem", ["ns"])
    command = _command(verbs, "add", "add an RBD image as a namespace", "namespace_add", _namespace_request,
                       "Adding namespace to {subsystem}", show=cli_tables.added_namespace)
    _nqn(command)
    command.add_argument("--nsid", type=NSID, help="namespace id; without one, the lowest free one")
    command.add_argument("-p", "--rbd-pool", default="", metavar="POOL", help="pool; without one, the gateway's")
    command.add_argument("-i", "--rbd-image", required=True, metavar="IMAGE", help="name of the image")
    command.add_argument("-c", "--rbd-create-image", action="store_true", help="make the image when there is none")
    command.add_argument("--size", type=size_in_bytes, help="size of a new image, such as 10G")
    command.add_argument("-s", "--block-size", type=number(512, 4096), default=512,
                         help="block size in bytes (default: 512)")
    command.add_argument("-u", "--uuid", help="UUID; without one, a random one")
    command.add_argument("-l", "--load-balancing-group", type=number(1, 32), metavar="GROUP",
                         help="ANA group; without one, the one with the fewest namespaces")
    command.add_argument("--force", action="store_true", help="also when another namespace uses the image")
    command = _command(verbs, "del", "take a namespace away; its image stays", "namespace_delete",
                       lambda a: pb.namespace_delete_req(subsystem_nqn=a.subsystem, nsid=a.nsid),
                       "Deleting namespace {nsid} of {subsystem}")
    _nqn(command)
    command.add_argument("--nsid", type=NSID, required=True, help="namespace id")
    command = _command(verbs, "list", "list namespaces", "list_namespaces", lambda a: pb.list_namespaces_req(
        subsystem=a.subsystem, nsid=a.nsid, uuid=a.uuid), show=cli_tables.namespaces)
    _nqn(command, required=False)
    command.add_argument("--nsid", type=NSID, help="only this one")
    command.add_argument("-u", "--uuid", help="only the one with this UUID")


def _namespace_request(a: argparse.Namespace) -> pb.namespace_add_req:
    return pb.namespace_add_req(
        rbd_pool_name=a.rbd_pool, rbd_image_name=a.rbd_image, subsystem_nqn=a.subsystem, nsid=a.nsid,
        block_size=a.block_size, uuid=a.uuid, anagrpid=a.load_balancing_group, create_image=a.rbd_create_image,
        size=a.size, force=a.force)


def _add_host(nouns: Any) -> None:
    verbs = _verbs(nouns, "host", "hosts that may connect")
    for verb, text, method, message, what in (
            ("add", "allow a host", "add_host", pb.add_host_req, "Adding host {host_nqn} to {subsystem}"),
            ("del", "stop allowing a host", "remove_host", pb.remove_host_req,
             "Removing host {host_nqn} from {subsystem}")):
        command = _command(verbs, verb, text, method, _host_request(message), what)
        _nqn(command)
        command.add_argument("-t", "--host-nqn", required=True, metavar="NQN", help="NQN of the host; '*': any host")
    command = _command(verbs, "list", "list the hosts that may connect", "list_hosts",
                       lambda a: pb.list_hosts_req(subsystem=a.subsystem), show=cli_tables.hosts)
    _nqn(command)


def _host_request(message: Any) -> Any:
    return lambda arguments: message(subsystem_nqn=arguments.subsystem, host_nqn=arguments.host_nqn)


if __name__ == "__main__":
    sys.exit(main())
