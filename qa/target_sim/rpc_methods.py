"""The table of RPC methods and how a call is run.

A handler takes (app, params) and returns the result or raises RpcError; a coroutine handler is answered when it
is done. Some methods exist only before the framework is initialized, some only after it, some always.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional

from .rpc_errors import INTERNAL_ERROR, METHOD_NOT_FOUND, WRONG_STATE, RpcError
from .subsystem import SubsystemGone

if TYPE_CHECKING:
    from .app import App

STARTUP, RUNTIME, ALWAYS = "startup", "runtime", "always"
TOO_EARLY = "Method may only be called after framework is initialized using framework_start_init RPC."
TOO_LATE = (
    "Method may only be called before framework is initialized. Use --wait-for-rpc command line parameter and then issue this RPC "
    "before the framework_start_init RPC."
)
log = logging.getLogger(__name__)


class Method(NamedTuple):
    handler: Callable[[Any, Any], Any]
    state: str


METHODS: dict[str, Method] = {}


def method(name: str, state: str = RUNTIME) -> Callable:
    def register(handler: Callable) -> Callable:
        METHODS[name] = Method(handler, state)
        return handler

    return register


class Executor:
    """Runs calls for the RPC server. `allowed` limits which methods exist."""

    def __init__(self, app: App, allowed: Optional[list[str]]) -> None:
        self._app = app
        self._allowed = allowed
        self._tasks: set[asyncio.Task] = set()

    def is_available(self, name: str) -> bool:
        """Whether the method exists and may be called in the present state."""
        state = METHODS[name].state
        return state == ALWAYS or (state == RUNTIME) == self._app.is_initialized

    def is_known(self, name: str) -> bool:
        return name in METHODS and (self._allowed is None or name in self._allowed)

    def __call__(self, name: str, params: Any, finish: Callable[[Any, Optional[RpcError]], None]) -> None:
        try:
            if not self.is_known(name):
                raise RpcError(METHOD_NOT_FOUND, "Method not found")
            if not self.is_available(name):
                raise RpcError(WRONG_STATE, TOO_LATE if self._app.is_initialized else TOO_EARLY)
            result = METHODS[name].handler(self._app, params)
        except RpcError as error:
            finish(None, error)
            return
        if not inspect.iscoroutine(result):
            finish(result, None)
            return
        task = asyncio.get_running_loop().create_task(self._finish_later(name, result, finish))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish_later(self, name: str, result: Any, finish: Callable[[Any, Optional[RpcError]], None]) -> None:
        try:
            value = await result
        except RpcError as error:
            finish(None, error)
        except SubsystemGone:
            finish(None, RpcError(INTERNAL_ERROR, "Internal error"))
        except Exception:
            # The outermost frame of a call: the client gets an answer and the log says what is wrong in this program.
            log.exception("%s failed", name)
            finish(None, RpcError(INTERNAL_ERROR, "Internal error"))
        else:
            finish(value, None)
