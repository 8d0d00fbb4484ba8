"""The warden's own JSON-RPC connection to its target: is it alive, and make it inaccessible now.

Never blocks. A probe (`nvmf_get_subsystems`) shows that the target lives and which listeners it has. A restriction sets
every listener inaccessible for all ANA groups in one write, and is confirmed only when every call succeeded and a
listing sent after them shows no listener that was not covered; until then it is repeated.

Promises: at most one probe and one restriction are under way; nothing is confirmed for a connection that was lost.
"""
from __future__ import annotations

import json
import logging
import selectors
import socket
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Set, Tuple

from gw_agent.json_rpc import Decoder, RpcError, encode, outcome

log = logging.getLogger(__name__)

READ_BYTES = 256 * 1024
Listener = Tuple[str, str]
"""NQN, and the address object as JSON text."""


@dataclass
class _Restriction:
    """One pass over the listeners; `unanswered` and `failed` are of its own calls."""

    covered: FrozenSet[Listener]
    unanswered: Set[int] = field(default_factory=set)
    failed: Dict[Listener, str] = field(default_factory=dict)


class TargetChannel:
    """One connection to one target; made anew for each target."""

    def __init__(self, path: str, selector: selectors.BaseSelector) -> None:
        self.path = path
        self._selector = selector
        self._socket: Optional[socket.socket] = None
        self._decoder = Decoder()
        self._out = b""
        self._next_id = 1
        self._waiting: Dict[int, Callable[[Any], None]] = {}
        self._probe: Optional[int] = None
        self._restriction: Optional[_Restriction] = None
        self._listeners: FrozenSet[Listener] = frozenset()
        self.heard = False
        """Something was answered; whoever looks sets it back."""
        self.restricted = False
        """A restriction was confirmed; whoever looks sets it back."""

    def connect(self) -> bool:
        """Try to connect if there is no connection; true when there is one."""
        if self._socket is not None:
            return True
        new = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            new.connect(self.path)
        except OSError:
            new.close()
            return False
        self._socket, self._decoder, self._out = new, Decoder(), b""
        self._selector.register(new, selectors.EVENT_READ, self._on_ready)
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket, self._probe, self._restriction, self._waiting = None, None, None, {}

    def probe(self) -> None:
        """Ask for a sign of life unless the last question is unanswered yet."""
        if self.connect() and self._probe is None:
            self._probe = self._send("nvmf_get_subsystems", None, self._on_probe)
            self._flush()

    def restrict(self, anew: bool = False) -> None:
        """Ask that everything be inaccessible, unless that is under way already.

        `anew`: what was asked before counts no more, because the target may have become optimized since.
        """
        if anew:
            self._restriction, self.restricted = None, False
        if self._restriction is not None or not self.connect():
            return
        restriction = self._restriction = _Restriction(self._listeners)
        for listener in sorted(self._listeners):
            nqn, address = listener
            self._expect(restriction, "nvmf_subsystem_listener_set_ana_state", {
                "nqn": nqn, "listen_address": json.loads(address), "ana_state": "inaccessible"}, listener)
        self._expect(restriction, "nvmf_get_subsystems", None, None)
        self._flush()

    def _expect(self, restriction: _Restriction, method: str, params: Optional[Dict[str, Any]],
                listener: Optional[Listener]) -> None:
        def answered(result: Any) -> None:
            restriction.unanswered.discard(request_id)
            if listener is None:
                self._on_probe(result)
            elif isinstance(result, RpcError):
                restriction.failed[listener] = str(result)
            if not restriction.unanswered and self._restriction is restriction:
                self._conclude(restriction)

        request_id = self._send(method, params, answered)
        restriction.unanswered.add(request_id)

    def _conclude(self, restriction: _Restriction) -> None:
        """All of it was answered, so the listeners are known as they are now."""
        self._restriction = None
        failed = {listener: text for listener, text in restriction.failed.items() if listener in self._listeners}
        if self._listeners <= restriction.covered and not failed:
            self.restricted = True
            return
        for text in failed.values():
            log.warning("a listener could not be made inaccessible: %s", text)
        if not failed:
            self.restrict()

    def _on_probe(self, result: Any) -> None:
        self._probe = None
        if isinstance(result, list):
            self._listeners = frozenset(_listeners(result))

    def _send(self, method: str, params: Optional[Dict[str, Any]], answered: Callable[[Any], None]) -> int:
        request_id, self._next_id = self._next_id, self._next_id + 1
        self._waiting[request_id] = answered
        self._out += encode(request_id, method, params)
        return request_id

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out):]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(str(error))
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self._socket, events, self._on_ready)

    def _on_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if self._socket is None or not events & selectors.EVENT_READ:
            return
        try:
            data = self._socket.recv(READ_BYTES)
            replies = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._lost(str(error))
            return
        if not data:
            self._lost("closed by the target")
            return
        self._deliver(replies)

    def _deliver(self, replies: List[Dict[str, Any]]) -> None:
        for reply in replies:
            answered = self._waiting.pop(reply.get("id") or 0, None)
            if answered is not None:
                self.heard = True
                answered(outcome(reply, "", None))

    def _lost(self, reason: str) -> None:
        log.info("the warden's RPC connection to the target is gone: %s", reason)
        self.close()


def _listeners(subsystems: List[Dict[str, Any]]) -> List[Listener]:
    """Every listener of the NVM subsystems, its address with the fields that name it."""
    return [(subsystem["nqn"], json.dumps({key: address[key] for key in ("trtype", "adrfam", "traddr", "trsvcid")
                                           if key in address}, sort_keys=True))
            for subsystem in subsystems if subsystem.get("subtype") != "Discovery"
            for address in subsystem.get("listen_addresses", ())]
