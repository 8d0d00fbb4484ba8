"""Sends the steps of a reconciliation to the target and notes what became of each.

Promises: independent requests go out in one write; a refused or unanswered one becomes the problem of its subject and
the rest goes on; a target that is gone ends it all with RpcUnreachable.

Some requests wait for a namespace's I/O in flight (removing it, moving it to another ANA group, deleting its subsystem
or its block device), and while one waits, every later pausing request for that subsystem, ANA changes too, waits
behind it. Such a step gets `WAIT_DEADLINE_S`; then it is reported as waiting and left to end by itself, it is not sent
again, and its subsystem is `blocked` until the answer comes. Should an ANA change be needed meanwhile, the target
does not answer it, and whoever asked must treat the target as one that does not obey.
"""
from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Sequence, Set

from gw_agent.spdk_rpc import Request, RpcFailure, RpcTimeout, RpcUnreachable, SpdkRpc

STEP_TIMEOUT_S = 5.0
WAIT_DEADLINE_S = 5.0
WAIT_LIMIT_S = 24 * 3600.0
"""How long the answer of a step that waits for I/O is awaited in the background."""


@dataclass
class Step:
    """One request."""

    subject: str
    """What it is about, as the key under which that is stored."""
    what: str
    """Completes "cannot ..."."""
    request: Request
    done: Callable[[], Any]
    """Notes the success."""


@dataclass
class _Waiting:
    step: Step
    task: "asyncio.Task[Any]"

    @property
    def nqn(self) -> str:
        return str((self.step.request[1] or {}).get("nqn", ""))


class StepSender:
    """Sends steps to one target, and remembers between reconciliations what the target has not answered yet."""

    def __init__(self, rpc: SpdkRpc) -> None:
        self._rpc = rpc
        self._waiting: Dict[str, _Waiting] = {}
        self.problem_of: Dict[str, str] = {}
        """By subject: what is not as wanted, and why."""
        self.answered = True
        """Every request of this reconciliation was."""

    def begin(self) -> None:
        """For a new reconciliation: forgets problems, and what the target has answered meanwhile."""
        self.problem_of, self.answered = {}, True
        self._waiting = {subject: waiting for subject, waiting in self._waiting.items()
                         if not waiting.task.done()}
        for waiting in self._waiting.values():
            self._note_waiting(waiting.step)

    @property
    def waiting(self) -> Set[str]:
        """Subjects of the steps that wait for I/O."""
        return set(self._waiting)

    @property
    def blocked(self) -> Set[str]:
        """NQNs of the subsystems in which a step waits for I/O."""
        return {waiting.nqn for waiting in self._waiting.values()}

    async def send(self, steps: Sequence[Step]) -> None:
        """Steps that the target answers at once. Raises RpcUnreachable when the target is gone."""
        replies = await self._rpc.pipeline([step.request for step in steps], STEP_TIMEOUT_S) if steps else []
        for step, reply in zip(steps, replies):
            self._conclude(step, reply)

    async def send_and_wait_for_io(self, steps: Sequence[Step]) -> None:
        """Steps that wait for I/O in flight. Raises RpcUnreachable when the target is gone."""
        new: List[_Waiting] = []
        for step in steps:
            if step.subject not in self._waiting:
                method, params = step.request
                new.append(_Waiting(step, asyncio.ensure_future(self._rpc.call(method, params, WAIT_LIMIT_S))))
                new[-1].task.add_done_callback(_retrieve)
        if not new:
            return
        await asyncio.wait([waiting.task for waiting in new], timeout=WAIT_DEADLINE_S)
        for waiting in new:
            if waiting.task.done():
                self._conclude(waiting.step, waiting.task.exception() or waiting.task.result())
            else:
                self._waiting[waiting.step.subject] = waiting
                self._note_waiting(waiting.step)

    def _note_waiting(self, step: Step) -> None:
        self.problem_of[step.subject] = (
            f"cannot {step.what} yet: the target waits for I/O in flight to end; when the cluster is slow or down "
            "(`ceph health`) this lasts until it answers, and nothing else of that subsystem can be changed")

    def _conclude(self, step: Step, reply: Any) -> None:
        if not isinstance(reply, BaseException):
            step.done()
        elif isinstance(reply, RpcUnreachable) and not isinstance(reply, RpcTimeout):
            raise reply
        elif isinstance(reply, RpcFailure):
            self.answered = self.answered and not isinstance(reply, RpcTimeout)
            self.problem_of[step.subject] = f"cannot {step.what}: {reply}"
        else:
            raise reply


def _retrieve(task: "asyncio.Task[Any]") -> None:
    """So that the end of a step in the background, when nobody asks any more, is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
