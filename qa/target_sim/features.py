"""Get and Set Features of one controller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .nvme_format import (
    ANA_INACCESSIBLE,
    COMMAND_SEQUENCE_ERROR,
    INVALID_FIELD,
    INVALID_NAMESPACE,
    KEEP_ALIVE_GRANULARITY_MS,
    KEEP_ALIVE_INVALID,
    KEEP_ALIVE_MINIMUM_MS,
    MAX_QUEUE_PAIRS,
    NOT_CHANGEABLE,
    NOT_SAVEABLE,
    SUCCESS,
    Command,
)
from .subsystem import INACCESSIBLE

if TYPE_CHECKING:
    from .controller import Controller

ARBITRATION, POWER, LBA_RANGE, TEMPERATURE, ERROR_RECOVERY, WRITE_CACHE, QUEUES, COALESCING, VECTOR, ATOMICITY = range(
    1, 11
)
EVENTS = 0x0B
KEEP_ALIVE, HOST_BEHAVIOUR, HOST_IDENTIFIER = 0x0F, 0x16, 0x81
GLOBAL_NSID = 0xFFFFFFFF
CONTROLLER_FEATURES = (
    ARBITRATION,
    POWER,
    TEMPERATURE,
    WRITE_CACHE,
    QUEUES,
    COALESCING,
    VECTOR,
    ATOMICITY,
    EVENTS,
    KEEP_ALIVE,
    HOST_BEHAVIOUR,
    HOST_IDENTIFIER,
)
_PLAIN = (ARBITRATION, POWER, ERROR_RECOVERY, COALESCING, ATOMICITY)


def rounded_kato_ms(asked_ms: int) -> int:
    """A keep-alive timeout in the target's granularity; 0 stays 0 (no timeout)."""
    if asked_ms == 0:
        return 0
    if asked_ms <= KEEP_ALIVE_MINIMUM_MS:
        return KEEP_ALIVE_MINIMUM_MS
    return -(-asked_ms // KEEP_ALIVE_GRANULARITY_MS) * KEEP_ALIVE_GRANULARITY_MS


class Features:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._values = dict.fromkeys(_PLAIN, 0)
        self._host_behaviour = bytes(512)

    def get(self, command: Command) -> tuple[int, int, bytes]:
        """Status, result and data."""
        controller, feature = self._controller, command.cdw10 & 0xFF
        if command.nsid > controller.subsystem.max_namespaces and command.nsid != GLOBAL_NSID:
            return INVALID_NAMESPACE, 0, b""
        if feature == KEEP_ALIVE:
            return SUCCESS, controller.kato_ms, b""
        if feature == EVENTS:
            return SUCCESS, controller.events.enabled, b""
        if controller.subsystem.is_discovery:
            return INVALID_FIELD, 0, b""
        if feature == QUEUES:
            return SUCCESS, self._queues(), b""
        if feature == WRITE_CACHE:
            return SUCCESS, 1, b""
        if feature == TEMPERATURE:
            return SUCCESS, 0, b""
        if feature == VECTOR:
            return SUCCESS, command.cdw11 & 0xFFFF | 1 << 16, b""
        if feature == HOST_IDENTIFIER and command.cdw11 & 1 and command.length >= 16:
            return SUCCESS, 0, controller.hostid.ljust(command.length, b"\0")
        if feature == HOST_BEHAVIOUR and command.length >= 512:
            return SUCCESS, 0, self._host_behaviour
        if feature in _PLAIN:
            return SUCCESS, self._values[feature], b""
        return INVALID_FIELD, 0, b""

    def set(self, command: Command) -> tuple[int, int]:
        """Status and result."""
        controller, feature = self._controller, command.cdw10 & 0xFF
        if command.cdw10 >> 31:
            return NOT_SAVEABLE, 0
        if command.nsid > controller.subsystem.max_namespaces and command.nsid != GLOBAL_NSID:
            return INVALID_NAMESPACE, 0
        if feature == KEEP_ALIVE:
            return self._set_keep_alive(command.cdw11)
        if feature == EVENTS:
            controller.events.enabled = command.cdw11
            return SUCCESS, 0
        if controller.subsystem.is_discovery:
            return INVALID_FIELD, 0
        if feature in (ERROR_RECOVERY, ATOMICITY) and self._is_inaccessible(command.nsid):
            return ANA_INACCESSIBLE, 0
        if feature == QUEUES:
            return self._set_queues(command.cdw11)
        if feature == COALESCING:
            return NOT_CHANGEABLE, 0
        if feature == HOST_BEHAVIOUR:
            return self._set_host_behaviour(command.data)
        if feature == HOST_IDENTIFIER:
            return COMMAND_SEQUENCE_ERROR, 0
        if feature in _PLAIN:
            self._values[feature] = command.cdw11
            return SUCCESS, 0
        return (SUCCESS if feature in (TEMPERATURE, WRITE_CACHE) else INVALID_FIELD), 0

    def _is_inaccessible(self, nsid: int) -> bool:
        namespace = self._controller.namespace(nsid)
        return namespace is not None and self._controller.ana_state(namespace.anagrpid) == INACCESSIBLE

    def _queues(self) -> int:
        return (MAX_QUEUE_PAIRS - 2) << 16 | MAX_QUEUE_PAIRS - 2

    def _set_queues(self, asked: int) -> tuple[int, int]:
        if asked & 0xFFFF == 0xFFFF or asked >> 16 == 0xFFFF:
            return INVALID_FIELD, 0
        if self._controller.io_queues:
            return COMMAND_SEQUENCE_ERROR, 0
        return SUCCESS, self._queues()

    def _set_keep_alive(self, asked_ms: int) -> tuple[int, int]:
        if asked_ms == 0:
            return KEEP_ALIVE_INVALID, 0
        self._controller.start_keep_alive(rounded_kato_ms(asked_ms))
        return SUCCESS, 0

    def _set_host_behaviour(self, data: bytes) -> tuple[int, int]:
        if len(data) != 512 or data[0] > 1 or data[2] > 1:
            return INVALID_FIELD, 0
        self._host_behaviour = data
        return SUCCESS, 0
