"""What the core asks its driver to do, in order.  Every action may safely be repeated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import FrozenSet, Tuple, Union

from .model import Departed, Disaster, Gateway, Instance, Map, Version


@dataclass(frozen=True)
class StoreGateway:
    """Write this gateway's record to the mon KV store; answer ``GatewayStored``.

    ``unfenced``: earlier instances of it whose fence is not known yet.  In the same record, so that whenever one instance
    follows another there, every one that may still write is named with its addresses.
    """

    gateway: Gateway
    unfenced: Tuple[Departed, ...] = ()


@dataclass(frozen=True)
class ForgetGateway:
    """Remove the gateway's record from the mon KV store."""

    gateway_id: str


@dataclass(frozen=True)
class StoreDisasters:
    """Keep the group's disaster locations in the mon KV store, for when its seats are lost."""

    disasters: Tuple[Disaster, ...]


@dataclass(frozen=True)
class Commit:
    """Write this map to all three seats until two acknowledge; answer ``Committed`` (or ``Deposed``).

    Repeat it, unchanged, as long as neither is certain: a version names one content only.
    """

    map: Map


@dataclass(frozen=True)
class Wake:
    """Tell the gateways that this version exists."""

    version: Version


@dataclass(frozen=True)
class Fence:
    """Blocklist every address, then read the OSD map epoch from the mons; answer ``Fenced`` or ``FenceFailed``."""

    instance: Instance
    addresses: FrozenSet[str]


@dataclass(frozen=True)
class Reply:
    """Answer a command: ``code`` is 0 or a positive errno, ``text`` says what was found and what to do."""

    request_id: int
    code: int
    text: str = ""


Action = Union[StoreGateway, ForgetGateway, StoreDisasters, Commit, Wake, Fence, Reply]
