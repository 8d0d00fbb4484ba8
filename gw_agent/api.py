"""The gateway's gRPC API: change and list the configuration of the gateway group, and ask about this gateway.

A change is checked, stored where every gateway of the group sees it, and applied to this gateway's target before the
answer; if the target refuses it, what was stored is taken back and the answer says why. Other gateways are notified.

Promises: an answer with status 0 means stored, and served here unless its text says that something only waits; any
other status is an errno value with the reason, and nothing stays stored unless the reason says so (a removal that
waits for I/O goes on; RADOS stopped answering in the middle). Does not promise: that other gateways could apply it too.
ANA states are never set from here, because nothing would be fenced.
"""
from __future__ import annotations

import asyncio
import errno
import functools
import importlib.metadata
import logging
import random
import uuid
from typing import Any, Awaitable, Callable, List, Optional, Protocol, Tuple, TypeVar

import grpc
from nvmeof_ha_core.model import controller_ids

from gw_agent import changes, configuration, listings, target_state
from gw_agent.changes import NamespaceRequest, Refused
from gw_agent.config_store import Change, ConfigStore, Stored, StoreBusy, StoreError
from gw_agent.configuration import DEFAULT_LISTENER_PORT, Subsystem
from gw_agent.images import Images
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc
from gw_agent.reconcile import Report
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import RpcFailure, SpdkRpc

log = logging.getLogger(__name__)

STOP_S = 1.0
DISTRIBUTION = "nvmeof-ha"
Reply = TypeVar("Reply")


class LocalGateway(Protocol):
    """What the API needs of the gateway it runs in; the agent implements it."""

    @property
    def ana_group_id(self) -> int:
        """The ANA group that this gateway owns."""

    @property
    def rpc(self) -> SpdkRpc:
        """The connection to the running target."""

    def ready(self) -> Optional[str]:
        """None when the target runs and is configured, else the reason why not."""

    def ana_groups(self) -> Tuple[int, ...]:
        """Ids of all ANA groups in the gateway map."""

    async def apply_now(self) -> Report:
        """Loads what is stored, makes the target equal to it, and sets the permitted ANA states. Raises RpcFailure
        and StoreError."""


def _answers(reply_type: Callable[..., Reply]) -> Callable[..., Any]:
    """For a method that returns `reply_type`, whose failures become its status and error_message."""
    def decorate(method: Callable[..., Awaitable[Reply]]) -> Callable[..., Awaitable[Reply]]:
        @functools.wraps(method)
        async def answer(self: "GatewayService", request: Any, context: "grpc.aio.ServicerContext") -> Reply:
            reason = self.local.ready()
            if reason is not None:
                await context.abort(grpc.StatusCode.UNAVAILABLE, f"gateway {self.settings.gateway.name} does not "
                                    f"serve yet: {reason}")
            try:
                return await method(self, request)
            except Refused as error:
                code, text = error.code, str(error)
            except (StoreError, RpcFailure) as error:
                code, text = errno.EBUSY if isinstance(error, StoreBusy) else errno.EIO, str(error)
            log.info("%s: refused: %s", method.__name__, text)
            return reply_type(status=code, error_message=text)
        return answer
    return decorate


class GatewayService(gateway_pb2_grpc.GatewayServicer):
    """All methods of gateway.proto; those that this version does not offer answer UNIMPLEMENTED."""

    def __init__(self, store: ConfigStore, local: LocalGateway, settings: Settings) -> None:
        self.store = store
        self.local = local
        self.settings = settings
        self.port = settings.gateway.port
        self.images = Images(store.cluster)
        self._changing = asyncio.Lock()

    # Subsystems.

    @_answers(pb.subsys_status)
    async def create_subsystem(self, request: pb.create_subsystem_req) -> pb.subsys_status:
        _refuse_keys(request, "dhchap_key")
        nqn = changes.grouped_nqn(request.subsystem_nqn, self.settings.gateway.group, request.no_group_append)
        serial_number = request.serial_number or f"Ceph{random.randrange(10 ** 13, 10 ** 14)}"
        _, note = await self._change(f"subsystem {nqn} created", lambda now: changes.add_subsystem(
            now, nqn, serial_number, request.max_namespaces))
        return pb.subsys_status(status=0, error_message=note, nqn=nqn)

    @_answers(pb.req_status)
    async def delete_subsystem(self, request: pb.delete_subsystem_req) -> pb.req_status:
        return await self._done(f"subsystem {request.subsystem_nqn} deleted", lambda now: changes.delete_subsystem(
            now, request.subsystem_nqn, request.force))

    @_answers(pb.subsystems_info_cli)
    async def list_subsystems(self, request: pb.list_subsystems_req) -> pb.subsystems_info_cli:
        now = await self.store.load()
        return pb.subsystems_info_cli(subsystems=listings.configured_subsystems(
            now.configuration, controller_ids(self.local.ana_group_id), request.subsystem_nqn, request.serial_number))

    async def get_subsystems(self, request: pb.get_subsystems_req,
                             context: "grpc.aio.ServicerContext") -> pb.subsystems_info:
        reason = self.local.ready()
        if reason is None:
            try:
                return pb.subsystems_info(subsystems=listings.served_subsystems(
                    await self.local.rpc.call("nvmf_get_subsystems")))
            except RpcFailure as error:
                reason = str(error)
        await context.abort(grpc.StatusCode.UNAVAILABLE, reason)

    # Hosts.

    @_answers(pb.req_status)
    async def add_host(self, request: pb.add_host_req) -> pb.req_status:
        _refuse_keys(request, "psk", "dhchap_key")
        return await self._done(f"host {request.host_nqn} added to {request.subsystem_nqn}", lambda now:
                                changes.add_host(now, request.subsystem_nqn, request.host_nqn))

    @_answers(pb.req_status)
    async def remove_host(self, request: pb.remove_host_req) -> pb.req_status:
        return await self._done(f"host {request.host_nqn} removed from {request.subsystem_nqn}", lambda now:
                                changes.remove_host(now, request.subsystem_nqn, request.host_nqn))

    @_answers(pb.hosts_info)
    async def list_hosts(self, request: pb.list_hosts_req) -> pb.hosts_info:
        subsystem = await self._subsystem(request.subsystem)
        return pb.hosts_info(allow_any_host=subsystem.allow_any_host, subsystem_nqn=subsystem.nqn,
                             hosts=listings.configured_hosts(subsystem))

    # Listeners.

    @_answers(pb.req_status)
    async def create_listener(self, request: pb.create_listener_req) -> pb.req_status:
        own = self.settings.gateway.host_name
        if request.verify_host_name and request.host_name != own:
            raise Refused(errno.ENODEV, f"host name {request.host_name} is not this gateway's, which is {own}")
        listener = changes.checked_listener(request.host_name or own, request.traddr, request.trsvcid,
                                            pb.AddressFamily.Name(request.adrfam), request.secure)
        return await self._done(f"listener {listener.address} of {listener.host_name} added to {request.nqn}",
                                lambda now: changes.add_listener(now, request.nqn, listener))

    @_answers(pb.req_status)
    async def delete_listener(self, request: pb.delete_listener_req) -> pb.req_status:
        any_host_name = request.host_name == "*"
        if any_host_name and not request.force:
            raise Refused(errno.EINVAL, "host name * deletes listeners of every gateway; that needs force")
        listener = changes.checked_listener(request.host_name or self.settings.gateway.host_name, request.traddr,
                                            request.trsvcid or DEFAULT_LISTENER_PORT,
                                            pb.AddressFamily.Name(request.adrfam), False)
        return await self._done(f"listener {listener.address} of {listener.host_name} deleted from {request.nqn}",
                                lambda now: changes.delete_listener(now, request.nqn, listener, any_host_name))

    @_answers(pb.listeners_info)
    async def list_listeners(self, request: pb.list_listeners_req) -> pb.listeners_info:
        return pb.listeners_info(listeners=listings.configured_listeners(await self._subsystem(request.subsystem)))

    @_answers(pb.gateway_listeners_info)
    async def show_gateway_listeners_info(
            self, request: pb.show_gateway_listeners_info_req) -> pb.gateway_listeners_info:
        subsystem = await self._subsystem(request.subsystem_nqn)
        (method, params), = target_state.get_listeners([subsystem.nqn])
        own = [listener for listener in subsystem.listeners
               if listener.host_name == self.settings.gateway.host_name]
        return pb.gateway_listeners_info(gw_listeners=listings.served_listeners(
            own, await self.local.rpc.call(method, params), self.local.ana_groups()))

    # Namespaces.

    @_answers(pb.nsid_status)
    async def namespace_add(self, request: pb.namespace_add_req) -> pb.nsid_status:
        for name, what in (("no_auto_visible", "a namespace for chosen hosts only"),
                           ("trash_image", "moving the image to the trash")):
            if getattr(request, name):
                raise Refused(errno.EOPNOTSUPP, f"{what} is not offered by this version; add it without {name}")
        asked = NamespaceRequest(
            request.subsystem_nqn, request.rbd_pool_name or self.settings.ceph.pool, request.rbd_image_name,
            request.uuid or str(uuid.uuid4()), request.nsid, request.block_size, request.anagrpid, request.force)

        def make(now: Stored) -> Change:
            return changes.add_namespace(now, asked, self.local.ana_groups())

        make(await self.store.load())
        made_image = await self._provide_image(asked, request)
        try:
            change, note = await self._change(f"image {asked.pool}/{asked.image} added to {asked.nqn}", make)
        except Refused as error:
            if made_image and not error.stored:
                await self._take_image_back(asked)
            raise
        return pb.nsid_status(status=0, error_message=note, nsid=changes.namespace_of(change, asked.nqn))

    @_answers(pb.req_status)
    async def namespace_delete(self, request: pb.namespace_delete_req) -> pb.req_status:
        return await self._done(f"namespace {request.nsid} deleted from {request.subsystem_nqn}", lambda now:
                                changes.delete_namespace(now, request.subsystem_nqn, request.nsid))

    @_answers(pb.namespaces_info)
    async def list_namespaces(self, request: pb.list_namespaces_req) -> pb.namespaces_info:
        if request.subsystem:
            await self._subsystem(request.subsystem)
        now = await self.store.load()
        bdevs = await self.local.rpc.call("bdev_get_bdevs")
        size_by_bdev = {bdev["name"]: bdev["block_size"] * bdev["num_blocks"] for bdev in bdevs}
        return pb.namespaces_info(subsystem_nqn=request.subsystem, namespaces=listings.configured_namespaces(
            now.configuration, size_by_bdev, request.subsystem, request.nsid, request.uuid))

    # This gateway.

    @_answers(pb.gateway_info)
    async def get_gateway_info(self, request: pb.get_gateway_info_req) -> pb.gateway_info:
        gateway = self.settings.gateway
        version = await self.local.rpc.call("spdk_get_version")
        return pb.gateway_info(
            cli_version=request.cli_version, version=own_version(), name=gateway.name, group=gateway.group,
            addr=gateway.addr, port=str(self.port), bool_status=True, status=0, spdk_version=version["version"],
            load_balancing_group=self.local.ana_group_id, hostname=gateway.host_name,
            max_namespaces_per_subsystem=changes.MAX_NAMESPACES_LIMIT)

    async def set_ana_state(self, request: pb.ana_info, context: "grpc.aio.ServicerContext") -> None:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "ANA states follow the gateway map and are not set "
                            "by hand: nothing would be fenced. See `ceph nvmeof-ha show`")

    # Changing.

    async def _done(self, what: str, make: Callable[[Stored], Change]) -> pb.req_status:
        _, note = await self._change(what, make)
        return pb.req_status(status=0, error_message=note)

    async def _change(self, what: str, make: Callable[[Stored], Change]) -> Tuple[Change, str]:
        """Stores and applies a change; returns it, and a note when a part of it only waits."""
        made = Change()

        def remember(now: Stored) -> Change:
            nonlocal made
            made = make(now)
            return made

        async with self._changing:
            before, after = await self.store.change(remember)
            try:
                report = await self.local.apply_now()
            except StoreError as error:
                raise Refused(errno.EIO, f"stored, and applied once RADOS answers again: {error}", True) from error
            except RpcFailure as error:
                raise await self._taken_back(made, before, f"the target did not answer: {error}") from error
            failed, waiting = _outcome(made, report)
            if failed:
                raise await self._taken_back(made, before, "; ".join(failed))
        log.info("%s (version %d)", what, after.version)
        if waiting and made.removes:
            raise Refused(errno.EINPROGRESS, "stored, and goes on by itself: " + "; ".join(waiting), True)
        return made, "; ".join(waiting)

    async def _taken_back(self, made: Change, before: Stored, reason: str) -> Refused:
        """Takes a stored change back that the target did not take; returns the refusal for the answer."""
        try:
            _, after = await self.store.change(lambda now: made.inverse(before, now))
        except StoreError as error:
            return Refused(errno.EIO, f"{reason}; it stays stored, because it could not be taken back: {error}", True)
        log.info("a change was taken back (version %d): %s", after.version, reason)
        try:
            await self.local.apply_now()
        except (StoreError, RpcFailure) as error:
            log.warning("the target follows later: %s", error)
        return Refused(errno.EIO, reason)

    async def _provide_image(self, asked: NamespaceRequest, request: pb.namespace_add_req) -> bool:
        """Makes the image when that was asked for; True when it was made."""
        if request.create_image and not request.size:
            raise Refused(errno.EINVAL, "a new image needs a size")
        if request.size and not request.create_image:
            raise Refused(errno.EINVAL, "a size is for a new image only; ask for the image to be created too")
        size = await self.images.size(asked.pool, asked.image)
        if size is None:
            if not request.create_image:
                raise Refused(errno.ENODEV, f"there is no image {asked.pool}/{asked.image}; make it with `rbd "
                              "create`, or ask for it to be created")
            await self.images.create(asked.pool, asked.image, request.size)
            return True
        if request.create_image and size != request.size:
            raise Refused(errno.EEXIST, f"image {asked.pool}/{asked.image} exists with {size} bytes, asked for a new "
                          f"one of {request.size}")
        return False

    async def _take_image_back(self, asked: NamespaceRequest) -> None:
        try:
            await self.images.remove(asked.pool, asked.image)
        except Refused as error:
            log.warning("the new image of a namespace that could not be added stays: %s", error)

    async def _subsystem(self, nqn: str) -> Subsystem:
        return changes.subsystem(await self.store.load(), nqn)


def _outcome(made: Change, report: Report) -> Tuple[List[str], List[str]]:
    """What of a change failed in the target, and what only waits.

    What was added also fails with its subsystem, and waits while its subsystem cannot be changed.
    """
    keys = {*made.sets, *made.removes}
    owners = {configuration.nqn_of(key) for key in keys}
    added_to = {configuration.entry_key("subsystem", configuration.nqn_of(key)) for key in made.sets}
    failed = [text for subject, text in report.problem_of.items()
              if subject not in report.waiting and subject in keys | added_to]
    waiting = [text for subject, text in report.problem_of.items()
               if subject in report.waiting and configuration.nqn_of(subject) in owners]
    return failed, waiting


def _refuse_keys(request: Any, *names: str) -> None:
    for name in names:
        if getattr(request, name):
            raise Refused(errno.EOPNOTSUPP, f"{name} (TLS and in-band authentication) is not offered by this "
                          "version; nothing was changed, because doing it without would weaken access control")


def _refuse_the_rest(service: type) -> None:
    """Gives every method of the interface that `service` lacks an answer."""
    def refusing(name: str) -> Callable[..., Awaitable[None]]:
        async def refuse(self: Any, request: Any, context: "grpc.aio.ServicerContext") -> None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not offered by this version of the gateway")
        return refuse

    for method in pb.DESCRIPTOR.services_by_name["Gateway"].methods:
        if method.name not in vars(service):
            setattr(service, method.name, refusing(method.name))


_refuse_the_rest(GatewayService)


def own_version() -> str:
    """The version of this package."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


async def start_server(service: GatewayService, settings: Settings) -> Tuple["grpc.aio.Server", int]:
    """Opens the API; returns the server (end it with `await server.stop(STOP_S)`) and its port. Raises OSError."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    gateway_pb2_grpc.add_GatewayServicer_to_server(service, server)
    host = f"[{settings.gateway.addr}]" if ":" in settings.gateway.addr else settings.gateway.addr
    try:
        port = server.add_insecure_port(f"{host}:{settings.gateway.port}")
    except RuntimeError as error:
        raise OSError(errno.EADDRINUSE, f"the API cannot listen on {host}:{settings.gateway.port} ({error}); is the "
                      "address this host's and the port free?") from None
    service.port = port
    await server.start()
    return server, port
