"""Asynchronous events of one controller: which are enabled, masked until their log page is read, waiting, or
handed to a waiting request.
"""

from __future__ import annotations

from typing import Optional

from .nvme_format import AER_LIMIT_EXCEEDED, Command

MAX_REQUESTS = 4
NOTICE = 2
NAMESPACE_ATTRIBUTE_CHANGED, ANA_CHANGE, DISCOVERY_LOG_CHANGE = 0x00, 0x03, 0xF0
LOG_CHANGED_NAMESPACES, LOG_ANA, LOG_DISCOVERY = 0x04, 0x0C, 0x70
ENABLE_NAMESPACE, ENABLE_ANA, ENABLE_DISCOVERY = 1 << 8, 1 << 11, 1 << 31
MAX_CHANGED_NAMESPACES = 1024


class Events:
    def __init__(self, enabled: int) -> None:
        self.enabled = enabled
        self._requests: list[Command] = []
        self._waiting: list[int] = []
        self._masked: set[int] = set()
        self._changed_namespaces: list[int] = []

    def request(self, command: Command) -> None:
        if len(self._requests) >= MAX_REQUESTS:
            command.complete(AER_LIMIT_EXCEEDED)
        elif self._waiting:
            command.complete(dw0=self._waiting.pop(0))
        else:
            self._requests.append(command)

    def take_request(self, cid: int) -> Optional[Command]:
        """For an abort."""
        found = next((command for command in self._requests if command.cid == cid), None)
        if found is not None:
            self._requests.remove(found)
        return found

    def ana_changed(self) -> None:
        self._notify(ENABLE_ANA, ANA_CHANGE, LOG_ANA)

    def namespace_changed(self, nsid: int) -> None:
        if nsid not in self._changed_namespaces:
            self._changed_namespaces.append(nsid)
        self._notify(ENABLE_NAMESPACE, NAMESPACE_ATTRIBUTE_CHANGED, LOG_CHANGED_NAMESPACES)

    def discovery_log_changed(self) -> None:
        self._notify(ENABLE_DISCOVERY, DISCOVERY_LOG_CHANGE, LOG_DISCOVERY)

    def log_page_read(self, log_page: int, retain: bool) -> None:
        """Reading the page, unless asked to retain the event, lets the next one of its kind through."""
        if not retain:
            self._masked.discard(log_page)

    def take_changed_namespaces(self) -> list[int]:
        """What the changed namespace list shows; reading it empties it. More than fit are shown as one 0xffffffff."""
        changed, self._changed_namespaces = self._changed_namespaces, []
        return changed if len(changed) <= MAX_CHANGED_NAMESPACES else [0xFFFFFFFF]

    def _notify(self, enable: int, information: int, log_page: int) -> None:
        if not self.enabled & enable or log_page in self._masked:
            return
        self._masked.add(log_page)
        result = NOTICE | information << 8 | log_page << 16
        if self._requests:
            self._requests.pop().complete(dw0=result)
        else:
            self._waiting.append(result)
