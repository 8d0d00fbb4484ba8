"""What every verb of the gateway's API shares: how a change is checked, stored and applied, and how it is answered.

A change is checked, stored where every gateway of the group sees it, and applied to this gateway's target before the
answer; if the target refuses it, what was stored is taken back and the answer says why. Other gateways are notified.

Promises: an answer with status 0 means stored, and served here unless its text says that something only waits; any
other status is an errno value with the reason, and nothing stays stored unless the reason says so (a removal that
waits for I/O goes on; RADOS stopped answering in the middle). Does not promise: that other gateways could apply it too.
"""
from __future__ import annotations

import asyncio
import errno
import functools
import logging
from typing import Any, Awaitable, Callable, FrozenSet, List, Mapping, Optional, Protocol, Tuple, TypeVar

import grpc

from gw_agent import changes, changes_keys, configuration
from gw_agent.api_ha import KnowingGateway
from gw_agent.apply_report import Report
from gw_agent.changes import Refused
from gw_agent.config_store import Change, ConfigStore, Stored, StoreBusy, StoreError
from gw_agent.configuration import Subsystem
from gw_agent.group_key import GroupKey
from gw_agent.host_keys import SealedKey
from gw_agent.image_trash import ImageTrash
from gw_agent.images import Images
from gw_agent.moves import Fences, Key
from gw_agent.pb import gateway_pb2 as pb
from gw_agent.pb import gateway_pb2_grpc
from gw_agent.settings import Settings
from gw_agent.spdk_rpc import RpcFailure

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
TEXT_LIMIT = 2000
"""Characters of a reason. What was asked is quoted in it, and may be of any length."""


class LocalGateway(KnowingGateway, Protocol):
    """What the API needs of the gateway it runs in; the agent implements it."""

    @property
    def ana_group_id(self) -> int:
        """The ANA group that this gateway owns."""

    def ana_groups(self) -> Tuple[int, ...]:
        """Ids of all ANA groups in the gateway map."""

    def group_addresses(self) -> FrozenSet[str]:
        """RADOS addresses of all gateways in the map."""

    def fences(self) -> Fences:
        """Of the gateway map."""

    async def apply_now(self) -> Report:
        """Loads what is stored, makes the target equal to it, and sets the permitted ANA states. Raises RpcFailure
        and StoreError."""

    async def known_loads(self) -> Tuple[Tuple[int, ...], Mapping[Key, float]]:
        """ANA groups that new namespaces should go to, and I/O per second by namespace, where it is known."""

    async def move_namespace(self, nqn: str, nsid: int, to: int) -> None:
        """Hands one namespace over to another ANA group. Raises Refused, RpcFailure and StoreError."""


def answers(reply_type: Callable[..., Reply]) -> Callable[..., Any]:
    """For a method that returns `reply_type`, whose failures become its status and error_message."""
    def decorate(method: Callable[..., Awaitable[Reply]]) -> Callable[..., Awaitable[Reply]]:
        @functools.wraps(method)
        async def answer(self: "ApiFrame", request: Any, context: "grpc.aio.ServicerContext") -> Reply:
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
            text = _shortened(text)
            log.info("%s: refused: %s", method.__name__, text)
            return reply_type(status=code, error_message=text)
        return answer
    return decorate


def _shortened(text: str) -> str:
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]} [... {len(text) - 2 * half} characters ...] {text[-half:]}"


class ApiFrame(gateway_pb2_grpc.GatewayServicer):
    """What the verbs of each noun build on."""

    def __init__(self, store: ConfigStore, local: LocalGateway, settings: Settings) -> None:
        self.store = store
        self.local = local
        self.settings = settings
        self.port = settings.gateway.port
        self.images = Images(store.cluster)
        self.trash = ImageTrash(store, self.images, settings.gateway.name)
        self._changing = asyncio.Lock()

    async def done(self, what: str, make: Callable[[Stored], Change]) -> pb.req_status:
        _, note = await self.change(what, make)
        return pb.req_status(status=0, error_message=note)

    async def change(self, what: str, make: Callable[[Stored], Change]) -> Tuple[Change, str]:
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

    def sealed(self, field: str, key: str) -> Optional[SealedKey]:
        """A key of the request as it may be stored; None for an empty one. `field`: its name there. Raises Refused."""
        return changes_keys.sealed(GroupKey(self.settings.gateway.encryption_key), field, key)

    async def subsystem(self, nqn: str) -> Subsystem:
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
