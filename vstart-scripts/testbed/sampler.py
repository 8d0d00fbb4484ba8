"""Asks every gateway's target for its listeners' ANA states, 20 times a second.

Promises: all targets are asked at the same moment, each over a connection of its own; one that is dead, frozen or
slow delays the others once by `ANSWER_S` and then not at all; an answer that comes later than that is thrown away,
because nobody knows which moment it describes. Two optimized gateways are asked again at once before they count as
an overlap (`ana_history.doubly_optimized`).
"""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from gw_agent.json_rpc import Decoder, encode

from .ana_history import AnaHistory, Reading, Sample, doubly_optimized
from .observer import Observer

PERIOD_S = 0.05
ANSWER_S = 0.15
METHOD = 'nvmf_subsystem_get_listeners'

Tell = Callable[[str, float], None]   # text, time


class TargetQuestion:
    """The question to one target, over and over again."""

    def __init__(self, rpc_socket: Path, nqn: str) -> None:
        self._path = str(rpc_socket)
        self._params = {'nqn': nqn}
        self._socket: Optional[socket.socket] = None
        self._decoder = Decoder()
        self._number = 0
        self.waiting = False   # asked, and not answered yet

    def fileno(self) -> int:
        return self._socket.fileno() if self._socket else -1

    def ask(self) -> bool:
        """False: nobody there, or the answer to an earlier question is still due."""
        if self.waiting:
            self.answer()   # one that came after all is not for this round
        if self.waiting:
            return False
        try:
            if self._socket is None:
                self._connect()
            self._number += 1
            assert self._socket
            self._socket.sendall(encode(self._number, METHOD, self._params))
        except OSError:
            self.close()
            return False
        self.waiting = True
        return True

    def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self._socket, self._decoder = connection, Decoder()

    def answer(self) -> Optional[List[Dict[str, Any]]]:
        """The listeners, if the whole answer is there; [] while the target does not know the subsystem."""
        if self._socket is None:
            return None
        try:
            data = self._socket.recv(1 << 18)
            if not data:
                raise ConnectionResetError
            replies = self._decoder.feed(data)
        except BlockingIOError:
            return None
        except (OSError, ValueError):
            self.close()
            return None
        for reply in replies:
            if reply.get('id') == self._number:
                self.waiting = False
                return reply.get('result') or []
        return None

    def close(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket, self.waiting = None, False


class Sampler(Observer):
    """Fills `history`, and tells each change of an ANA state."""

    def __init__(self, rpc_sockets: Mapping[str, Path], nqn: str, ana_groups: Iterable[int], tell: Tell) -> None:
        """`rpc_sockets`: by gateway."""
        super().__init__('sampler', PERIOD_S)
        self.history = AnaHistory()
        self._questions = {gateway: TargetQuestion(path, nqn) for gateway, path in rpc_sockets.items()}
        self._ana_groups = tuple(ana_groups)
        self._tell = tell
        self._told: Dict[str, Dict[int, str]] = {gateway: {} for gateway in rpc_sockets}
        self._silent_since: Dict[str, float] = {}

    def look(self) -> None:
        sample = self._ask_all()
        if any(len(sample.optimized(group)) > 1 for group in self._ana_groups):
            again = self._ask_all()
            sample = Sample(sample.at_s, sample.readings, doubly_optimized(sample, again, self._ana_groups))
            self.history.append(sample)
            self._tell_changes(sample)
            sample = again
        self.history.append(sample)
        self._tell_changes(sample)

    def close(self) -> None:
        for question in self._questions.values():
            question.close()

    def _ask_all(self) -> Sample:
        asked = {gateway: question for gateway, question in self._questions.items() if question.ask()}
        readings: Dict[str, Reading] = {}
        deadline_s = time.monotonic() + ANSWER_S   # and no later where this process itself did not run meanwhile
        while asked:
            left_s = deadline_s - time.monotonic()
            ready = select.select(list(asked.values()), [], [], left_s)[0] if left_s > 0 else []
            if not ready:
                break
            for gateway in [name for name, question in asked.items() if question in ready]:
                listeners, now_s = asked[gateway].answer(), time.monotonic()
                if listeners is not None and now_s <= deadline_s:
                    readings[gateway] = Reading(now_s, self._states(listeners))
                if not asked[gateway].waiting:
                    del asked[gateway]
        return Sample(time.monotonic(), readings)

    def _states(self, listeners: List[Dict[str, Any]]) -> Dict[int, str]:
        """By ANA group. Of several listeners the one that lets most I/O in: any optimized one is a path."""
        states: Dict[int, str] = {}
        for listener in listeners:
            for entry in listener.get('ana_states', ()):
                group, state = entry['ana_group'], entry['ana_state']
                if group in self._ana_groups and states.get(group) != 'optimized':
                    states[group] = state
        return states

    def _tell_changes(self, sample: Sample) -> None:
        for gateway, told in self._told.items():
            reading = sample.readings.get(gateway)
            if reading is None:
                self._tell_silence(gateway, told, sample.at_s)
                continue
            self._silent_since.pop(gateway, None)
            for group, state in reading.states.items():
                if told.get(group) != state:
                    told[group] = state
                    self._tell(f"{gateway}'s listener reads back {state} for ANA group {group}", reading.at_s)
        for group in sample.overlaps:
            self._tell(f'OVERLAP: {" and ".join(sorted(sample.optimized(group)))} are optimized for ANA group {group}',
                       sample.at_s)

    def _tell_silence(self, gateway: str, told: Dict[int, str], at_s: float) -> None:
        """Of a target that is there and does not answer. A busy machine makes single answers late, so only a longer
        silence is news."""
        if not self._questions[gateway].waiting:
            told.clear()   # it is gone; the next one begins anew
            return
        silent_s = at_s - self._silent_since.setdefault(gateway, at_s)
        if told and silent_s > 2 * ANSWER_S:
            told.clear()
            self._tell(f"{gateway}'s target is there and does not answer JSON-RPC", at_s)
