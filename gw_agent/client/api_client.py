"""One client of a gateway's API: asks, and prints the answers as a person or a program reads them."""
from __future__ import annotations

import enum
import importlib.metadata
import json
from typing import Any, Callable, List, Optional

import click
import grpc
from google.protobuf import json_format

from gw_agent.pb import gateway_pb2_grpc, ha_pb2, ha_pb2_grpc
from gw_agent.client.connection import Server, unanswered

CALL_TIMEOUT_S = 60.0
"""A change waits for the lock of another gateway's change, and for the target."""
LOOK_TIMEOUT_S = 10.0
DISTRIBUTION = "nvmeof-ha"


class Format(str, enum.Enum):
    """How answers are printed."""

    TEXT = "text"
    JSON = "json"


class Failure(click.ClickException):
    """The gateway refused, or did not answer. Exit code 1."""

    def show(self, file: Any = None) -> None:
        click.echo(f"nvmeof-gw: {self.format_message()}", file=file, err=True)


class Refused(Failure):
    """The gateway answered with another status than 0."""


def own_version() -> str:
    """The version of this package."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class ApiClient:
    """What every command uses; connects with the first call."""

    def __init__(self, server: Server, output_format: Format) -> None:
        self.server = server
        self.format = output_format
        self._channel: Optional[grpc.Channel] = None

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def ask(self, method: str, request: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """The reply, whatever its status. Raises Failure."""
        if self._channel is None:
            self._channel = self.server.channel()
        of_ha = method in ha_pb2.DESCRIPTOR.services_by_name["HighAvailability"].methods_by_name
        stub = (ha_pb2_grpc.HighAvailabilityStub if of_ha else gateway_pb2_grpc.GatewayStub)(self._channel)
        try:
            return getattr(stub, method)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise Failure(unanswered(self.server, method, error)) from None

    def look(self, method: str, request: Any) -> Any:
        """As `ask`, for what is only looked at. Raises Failure, also for a status that is not 0."""
        reply = self.ask(method, request, LOOK_TIMEOUT_S)
        if reply.status:
            raise Refused(f"{method}: {reply.error_message}")
        return reply

    def carry_out(self, what: str, method: str, request: Any, text: Optional[Callable[[Any], str]] = None) -> None:
        """Asks, and prints the answer; `text` makes it readable (default: that `what` was successful). Raises
        Failure."""
        reply = self.ask(method, request)
        self.print_json(reply)
        status = getattr(reply, "status", 0)   # get_subsystems has none
        if status:
            raise Refused(f"{what}: failed: {reply.error_message}")
        if self.format is Format.TEXT:
            click.echo(f"{what}: successful" if text is None else text(reply))
            if getattr(reply, "error_message", ""):
                click.echo(f"Note: {reply.error_message}")

    def carry_out_each(self, things: List[str], one: Callable[[str], None]) -> None:
        """Goes on after a refusal, and ends with it. Raises Failure."""
        refused: List[Refused] = []
        for thing in things:
            try:
                one(thing)
            except Refused as error:
                refused.append(error)
        for earlier in refused[:-1]:
            earlier.show()
        if refused:
            raise refused[-1]

    def print(self, reply: Any, text: str) -> None:
        """An answer that needs no further look."""
        self.print_json(reply)
        if self.format is Format.TEXT:
            click.echo(text)

    def print_json(self, reply: Any) -> None:
        """With --format json only."""
        if self.format is Format.JSON:
            click.echo(json.dumps(as_dict(reply), indent=4))


def as_dict(reply: Any) -> Any:
    """With the names of the API, and with fields that are zero or empty."""
    return json_format.MessageToDict(reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


pass_client = click.make_pass_decorator(ApiClient)
