"""Gateways that ask one another: are you served in this placement group, where I am not?

A question and its answers are notifications on three objects, so that a host that is cut off from some OSDs still
reaches the others through one of them; every agent watches all three. They are named after the seats, and lie where
their names put them (a watch does not heed a locator key). An answer says that the peer's own client was, or was not,
answered promptly for what `path_probe.py` tries. Promises: callbacks only hand over to the event loop; what cannot be
read is ignored; a lost watch is made anew; however many questions come, at most `MOST_TRIES` tries are under way for
others, and at most `MOST_SAID` notifications on an object, which may be one that stalls. Does not promise any answer.

Whoever may notify these objects may forge a beacon too, so an answer is believed as a beacon is.
"""
from __future__ import annotations

import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Awaitable, Callable, Dict, Optional, Set, Tuple

import rados

from gw_agent import rados_watch
from gw_agent.ceph_client import CONTROL_NAMESPACE
from gw_agent.io_progress import Place

log = logging.getLogger(__name__)

FORMAT = 1
SEATS = 3
MOST_TRIES = 4
MOST_SAID = 8
CHECK_S = 2.0
REMEMBERED_S = 10.0
NOTIFY_TIMEOUT_MS = 2000
LONGEST_TEXT_BYTES = 16384

Answered = Callable[[str, Place, float, bool], None]


def witness_name(seat_name: str) -> str:
    return f"{seat_name}.witness"


def encode(sender: str, place: Place, asked_s: float, to: str = "", prompt: bool = False) -> str:
    """`to` is empty in a question. `asked_s`: by the asker's clock, which the answer gives back."""
    return json.dumps({"format": FORMAT, "from": sender, "to": to, "place": list(place), "asked_s": asked_s,
                       "prompt": prompt})


def decode(data: bytes) -> Optional[Tuple[str, str, Place, float, bool]]:
    """(sender, to, place, asked_s, prompt); None: it is nothing of this kind."""
    try:
        if len(data) > LONGEST_TEXT_BYTES:
            return None
        said = json.loads(data)
        pool_id, *names = said["place"]
        texts = [said["from"], said["to"], *names]
        if (said["format"] != FORMAT or len(names) != 3 or not all(isinstance(text, str) for text in texts)
                or type(pool_id) is not int or pool_id < 0 or type(said["prompt"]) is not bool):
            return None
        return said["from"], said["to"], Place(pool_id, *names), float(said["asked_s"]), said["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class _Post:
    """One of the three objects: its watch, and how many notifications are under way there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ioctx: Optional["rados.Ioctx"] = None
        self.watch: Optional[int] = None
        self.lost = self.busy = False
        self.said = 0


class Witnesses:
    """The other gateways of the group. Call `run` once."""

    def __init__(self, client: "rados.Rados", control_pool: str, gateway: str,
                 seat_names: Callable[[], Tuple[str, ...]], prompt: Callable[[Place], Awaitable[bool]],
                 answered: Answered) -> None:
        """`prompt`: try it with this host's own client. `answered(gateway, place, asked_s, prompt)` by a peer."""
        self._client = client
        self._control_pool = control_pool
        self._gateway = gateway
        self._seat_names = seat_names
        self._prompt = prompt
        self._answered = answered
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(SEATS, thread_name_prefix="witness")
        self._posts: Dict[str, _Post] = {}
        self._heard: Set[Tuple[str, Place, float]] = set()
        self._tries = 0

    async def run(self) -> None:
        """Never returns: keeps the watches."""
        while True:
            for seat_name in self._seat_names():
                post = self._posts.setdefault(seat_name, _Post(witness_name(seat_name)))
                if not post.busy:
                    post.busy = True
                    self._threads.submit(self._keep, post)
            await asyncio.sleep(CHECK_S)

    def ask(self, place: Place, asked_s: float) -> None:
        """All other gateways; what they say comes to `answered`."""
        self._say(encode(self._gateway, place, asked_s))

    def _say(self, text: str) -> None:
        for post in self._posts.values():
            if post.ioctx is not None and post.said < MOST_SAID:
                self._notify(post, post.ioctx, text)

    def _notify(self, post: _Post, ioctx: "rados.Ioctx", text: str) -> None:
        def ended() -> None:
            post.said -= 1
        try:
            ioctx.aio_notify(post.name, lambda *_: self._loop.call_soon_threadsafe(ended), text, NOTIFY_TIMEOUT_MS)
            post.said += 1
        except rados.Error as error:
            log.debug("nothing could be said on %s: %s", post.name, error)

    def _hear(self, data: bytes) -> None:
        said = decode(data)
        if said is None:
            log.debug("what was said on a witness object is of another kind: %r", data[:80])
            return
        sender, to, place, asked_s, prompt = said
        if sender == self._gateway:
            return
        if to == self._gateway:
            self._answered(sender, place, asked_s, prompt)
        elif not to and (sender, place, asked_s) not in self._heard and self._tries < MOST_TRIES:
            self._heard.add((sender, place, asked_s))   # it comes on each of the three objects
            self._loop.call_later(REMEMBERED_S, self._heard.discard, (sender, place, asked_s))
            self._tries += 1
            asyncio.ensure_future(self._answer(sender, place, asked_s))

    async def _answer(self, asker: str, place: Place, asked_s: float) -> None:
        try:
            prompt = await self._prompt(place)
        finally:
            self._tries -= 1
        self._say(encode(self._gateway, place, asked_s, asker, prompt))

    # -- in a thread ------------------------------------------------------------------------------------------

    def _keep(self, post: _Post) -> None:
        """Make the watch, or see whether it is still there."""
        try:
            if post.ioctx is None:
                post.ioctx = self._client.open_ioctx(self._control_pool)
                post.ioctx.set_namespace(CONTROL_NAMESPACE)
            if post.watch is not None and not post.lost:
                rados_watch.check(post.watch)
                return
            old, post.watch, post.lost = post.watch, None, False
            if old is not None:
                rados_watch.end(old)
            with rados.WriteOpCtx() as operation:
                operation.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
                post.ioctx.operate_write_op(operation, post.name)
            post.watch = rados_watch.begin(post.ioctx, post.name, self._on_notify,
                                           lambda *_: setattr(post, "lost", True))
        except rados.Error as error:
            log.debug("no watch on %s for now: %s", post.name, error)
            post.lost = True
        finally:
            post.busy = False

    def _on_notify(self, notify_id: int, notifier_id: int, watch_id: int, data: bytes) -> None:
        self._loop.call_soon_threadsafe(self._hear, data)
