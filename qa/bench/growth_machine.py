"""What a mgr, its OSDs and their hosts have that may run out, in simulated time: cores, threads, Python's interpreter.

Every piece of work takes a core for its time, first come, first served.  A ``Thread`` does one piece at a time and pays for
waking up when it had nothing to do, so a busy one costs less for each.  The ``Interpreter`` is held by one thread at a time:
given up when its work ends, or, once a thread of the same part of ceph-mgr has waited for it for ``SWITCH_S``, to whoever waits
longest.
"""

from __future__ import annotations

import heapq
from collections import deque
from enum import Enum
from typing import Any, Callable, Deque, List, NamedTuple, Optional, Tuple, Union

SWITCH_S = 0.005
"""``sys.getswitchinterval()``: how long CPython lets a thread compute while another one waits."""
SLICE_S = 0.001


class Part(Enum):
    """Of ceph-mgr: each module is a sub-interpreter of its own, librados calls back in the main one, and all share one lock.
    Before Python 3.13 who waits for it asks the threads of its own interpreter alone to give it up.  Measured on 3.11: while a
    thread computed for 1 s, one of the same interpreter waited 6 ms at a time, one of another 1,001 ms (on 3.13 and 3.14 both
    6 ms); in a ceph-mgr 16.2.15, beside a module that computed for 1 s at a time, acks took up to 1,001 ms."""

    CALLBACKS = 'callbacks'
    MODULE = 'module'
    OTHER_MODULE = 'other module'


class Work(NamedTuple):
    """Seconds of a core: for one message, and for waking up to it."""

    each_s: float
    wake_s: float


class World:
    """The event loop; ``bytes``: that crossed the network."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bytes = 0.0
        self._queue: List[Tuple[float, int, Callable[..., None], Tuple]] = []
        self._order = 0

    def at(self, when: float, call: Callable[..., None], *arguments: Any) -> None:
        self._order += 1
        heapq.heappush(self._queue, (when, self._order, call, arguments))

    def run_until(self, end: float) -> None:
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end:
            self.now, _, call, arguments = pop(queue)
            call(*arguments)
        self.now = end


class Cores:
    """Of one host, or of several that share the work."""

    def __init__(self, cores: int) -> None:
        self.cores, self.busy_s = cores, 0.0
        self._free = [0.0] * cores

    def use(self, now: float, work_s: float) -> float:
        """When it is done."""
        end = max(now, self._free[0]) + work_s
        heapq.heapreplace(self._free, end)
        self.busy_s += work_s
        return end


class Thread:
    def __init__(self, cores: Cores, work: Work) -> None:
        self._cores, self._work = cores, work
        self.free, self.busy_s = 0.0, 0.0

    def run(self, now: float, messages: int = 1, awake: bool = False) -> float:
        """When so many messages that came together are done."""
        work_s = messages * self._work.each_s + (self._work.wake_s if now >= self.free and not awake else 0.0)
        self.free = max(self._cores.use(now, work_s), self.free + work_s)
        self.busy_s += work_s
        return self.free


class _Task:
    __slots__ = ('part', 'work', 'done', 'asked', 'begun', 'left_s')

    def __init__(self, part: Part, work: Union[float, Callable[[], float]], done: Callable[[float], None],
                 asked: float) -> None:
        self.part, self.work, self.done, self.asked = part, work, done, asked
        self.begun, self.left_s = -1.0, 0.0


class Interpreter:
    """``ask``: ``done`` is called with the time at which the work, in seconds or told when it begins, was begun."""

    def __init__(self, world: World, cores: Cores) -> None:
        self._world, self._cores = world, cores
        self._waiting: Deque[_Task] = deque()
        self._running: Optional[_Task] = None
        self._switched = 0.0
        self.busy_s = 0.0

    def ask(self, part: Part, work: Union[float, Callable[[], float]], done: Callable[[float], None]) -> None:
        self._waiting.append(_Task(part, work, done, self._world.now))
        if self._running is None:
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            self._running = None
            return
        now, task = self._world.now, self._waiting.popleft()
        self._running, self._switched = task, now
        if task.begun < 0.0:
            task.begun = now
            task.left_s = task.work() if callable(task.work) else task.work
        self._slice(task)

    def _slice(self, task: _Task) -> None:
        part_s = task.left_s if task.left_s <= 2 * SLICE_S else SLICE_S
        task.left_s -= part_s
        self.busy_s += part_s
        self._cores.use(self._world.now, part_s)
        self._world.at(self._world.now + part_s, self._over, task)

    def _over(self, task: _Task) -> None:
        if task.left_s <= 0.0:
            task.done(task.begun)
        elif self._is_wanted(task.part):
            self._waiting.append(task)
        else:
            self._slice(task)
            return
        self._next()

    def _is_wanted(self, part: Part) -> bool:
        """By a thread of this part, for long enough."""
        first = next((task for task in self._waiting if task.part is part), None)
        return first is not None and self._world.now - max(first.asked, self._switched) >= SWITCH_S


class Loop:
    """A thread in which drivers take turns: of what they ask the interpreter for, one thing at a time, in order."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._queue: Deque[Tuple[Union[float, Callable[[], float]], Callable[[float], None]]] = deque()
        self._busy = False

    def ask(self, work: Union[float, Callable[[], float]], done: Callable[[float], None]) -> None:
        """As ``Interpreter.ask``."""
        self._queue.append((work, done))
        if not self._busy:
            self._busy = True
            self._next()

    def _next(self) -> None:
        work, done = self._queue.popleft()

        def ended(begun: float) -> None:
            done(begun)
            if self._queue:
                self._next()
            else:
                self._busy = False
        self._interpreter.ask(Part.MODULE, work, ended)


class Strand:
    """The one thread in which librados calls back, for all watches and operations of a client, each in its turn, and each
    with the interpreter.  Seen on 16.2.15: callbacks of three watches that sleep follow one another.  (After the ack is sent the
    interpreter is needed once more, but mostly nobody has taken it yet.)"""

    def __init__(self, world: World, thread: Thread, interpreter: Interpreter, back_s: float) -> None:
        self._world, self._thread, self._interpreter, self._back_s = world, thread, interpreter, back_s
        self._queue: Deque[Tuple[float, Callable[[], None]]] = deque()
        self._busy = False
        self._busy_s, self._since = 0.0, 0.0

    @property
    def busy_s(self) -> float:
        """Also while it waits for the interpreter."""
        return self._busy_s + (self._world.now - self._since if self._busy else 0.0)

    def call(self, work_s: float, said: Callable[[], None]) -> None:
        self._queue.append((work_s, said))
        if not self._busy:
            self._busy, self._since = True, self._world.now
            self._begin(awake=False)

    def _begin(self, awake: bool) -> None:
        self._world.at(self._thread.run(self._world.now, awake=awake), self._enter)

    def _enter(self) -> None:
        work_s, said = self._queue.popleft()

        def left(begun: float) -> None:
            said()
            self._back(begun)
        self._interpreter.ask(Part.CALLBACKS, work_s + self._back_s, left)

    def _back(self, _begun: float) -> None:
        if self._queue:
            self._begin(awake=True)
        else:
            self._busy_s, self._busy = self.busy_s, False
