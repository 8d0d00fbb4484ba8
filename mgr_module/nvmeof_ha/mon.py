"""Commands to the mons that cannot hang their caller.

Promises: ``issue`` returns at once, and its answer is delivered by a call that may only enqueue; ``ask`` waits for a
limited time.  Answers of commands that one caller issued one after the other arrive in that order while the mons are
reachable.  A command whose answer was given up may still take effect.
"""

from __future__ import annotations

import errno
import json
import threading
from queue import Empty, Queue
from typing import Any, Callable, Dict, NamedTuple, Protocol, Tuple

Send = Callable[..., None]


class Answer(NamedTuple):
    """``code``: 0 or a negative errno; ``output``: data; ``text``: status text of the mons."""

    code: int
    output: str
    text: str

    def describe(self) -> str:
        name = errno.errorcode.get(-self.code, str(self.code))
        return f"{name}: {self.text.strip()}" if self.text.strip() else name


class Mons(Protocol):
    """Where commands to the mons go; ``done`` is called at any time, on any thread, and must only enqueue."""

    def issue(self, command: Dict[str, Any], done: Callable[[Answer], None]) -> None: ...


class MonCommandError(RuntimeError):
    """The mons refused a command or did not answer it in time; the text says which."""


class _Result:
    """In place of ``mgr_module.CommandResult``: hands the answer on instead of keeping it."""

    def __init__(self, done: Callable[[Answer], None]) -> None:
        self._done = done

    def complete(self, r: int, outb: str, outs: str) -> None:
        self._done(Answer(r, outb, outs))


class MonCommands:
    """One sender for the whole module.

    ceph-mgr keeps the thread state of whoever sends a command until the answer is there.  So all are sent by one
    thread that lives as long as the module does: a group's thread may end while an answer is outstanding.
    """

    def __init__(self, send_command: Send) -> None:
        self._send_command = send_command
        self._requests: Queue[Tuple[Dict[str, Any], Callable[[Answer], None]]] = Queue()
        threading.Thread(target=self._send_all, name="nvmeof_ha.mon", daemon=True).start()

    def issue(self, command: Dict[str, Any], done: Callable[[Answer], None]) -> None:
        """Send; ``done`` is called on a thread of the mgr's and must only enqueue."""
        self._requests.put((command, done))

    def ask(self, command: Dict[str, Any], timeout_s: float = 5.0) -> Answer:
        """Send and wait.

        Raises:
            MonCommandError: no answer within ``timeout_s``.
        """
        answers: Queue[Answer] = Queue()
        self.issue(command, answers.put)
        try:
            return answers.get(timeout=timeout_s)
        except Empty:
            raise MonCommandError(f"the mons did not answer {command['prefix']!r} within {timeout_s:g} s: check that "
                                  "they have a quorum (`ceph -s`)") from None

    def _send_all(self) -> None:
        while True:
            command, done = self._requests.get()
            self._send_command(_Result(done), "mon", "", json.dumps(command), "")


def parsed(answer: Answer, prefix: str) -> Any:
    """The JSON of an answer.

    Raises:
        MonCommandError: the command failed, or its output is not JSON.
    """
    if answer.code:
        raise MonCommandError(f"the mons refused {prefix!r}: {answer.describe()}")
    try:
        return json.loads(answer.output)
    except ValueError as error:
        raise MonCommandError(f"the mons' answer to {prefix!r} is not JSON ({error}): {answer.output[:80]!r}") from None
