"""The trace of the warden or the agent: every call of their pure parts with arguments and answer, as JSON lines.

Off unless the option trace_file is set. Covers the judgement of each seat read (`core/register.py`), the lease and the
warden's verdicts (`core/lease.py`), and the agent's plan and confirmations (`core/gateway.py`). Most calls repeat an
earlier one and cost a few bytes. What happens all the time (a repeated call, a look at the lease, its extension) waits
for a line with more of it; all else is written at once.

Each line names its process and is numbered:
  {"map": id, "value": {...}}, {"view": id, "value": {...}}   what is new; from now on it stands as its id
  {"entries": [...], "ward": {...}}                           calls in their order, and the `Ward` after them
    [number, function, argument ..., answer]   a call; from now on it may be repeated as its number alone
    [function, argument ..., answer]           one with times in it
    [method, argument ...]                     a change of the `Ward`; its answer is the next one's object
A verdict to keep is not noted, nor a lease that is as valid as at the last question. `python -m conformance` calls the
same functions again and compares.
"""
from __future__ import annotations

import json
import logging
import logging.handlers
import os
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, get_type_hints

from gw_agent.settings import GatewaySettings
from nvmeof_ha_core import lease
from nvmeof_ha_core.lease import Order, Verdict, Ward
from nvmeof_ha_core.model import Instance, Map
from nvmeof_ha_core.plain import Codec, Codecs
from nvmeof_ha_core.register import View

T = TypeVar("T")

KEPT = 256
"""So many maps, views and calls are known by their number."""
ENTRIES_A_LINE = 200
TIMED = (lease.extend, lease.valid)
"""With times in them, so never the same twice."""
ROUTINE = (lease.extend, Ward.seats_read, Ward.mons_answered, Ward.target_answered, Ward.look)
"""Not written at once."""


class Numbers:
    """Gives numbers to what was met, and forgets what was not met for long. A number is never given again."""

    def __init__(self) -> None:
        self._last = 0
        self._known: "OrderedDict[Any, Tuple[int, Any]]" = OrderedDict()

    def get(self, key: Any) -> Optional[int]:
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key][0]

    def give(self, key: Any, kept: Any = None) -> int:
        """`kept`: must live as long as its number, because `key` is its id."""
        self._last += 1
        self._known[key] = (self._last, kept)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._last


class NoTrace:
    """Calls, and writes nothing."""

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """The answer of a pure function with type hints."""
        return function(*args)

    def ward(self, instance: Instance, started_s: float) -> Ward:
        """A new lease, whose changes are noted."""
        return Ward(instance, started_s)


class Trace(NoTrace):
    """Of one process. `write` gets one line at a time."""

    def __init__(self, write: Callable[[str], None], process: str, gateway: str) -> None:
        self._write = write
        self._who = {"process": process, "gateway": gateway, "pid": os.getpid()}
        self._number = 0
        self._maps, self._views, self._calls = Numbers(), Numbers(), Numbers()
        self._plain_map = Codecs().of(Map)
        self._plain_view = Codecs({Map: Codec(self._map_number, _never)}).of(View)
        self._codecs = Codecs({Map: Codec(self._map_number, _never), View: Codec(self._view_number, _never)})
        self._arguments: Dict[Any, List[Codec]] = {}
        self._valid: Optional[bool] = None
        self._entries: List[Any] = []
        self._ward: Optional[Ward] = None

    def call(self, function: Callable[..., T], *args: Any) -> T:
        answer = function(*args)
        entry = self._entry(function, (*args, answer))
        if function not in TIMED:
            key = json.dumps(entry)
            number = self._calls.get(key)
            if number is None:
                self._note(function, [self._calls.give(key), *entry])
            else:
                self._note_routine(number)
        elif function is not lease.valid or answer != self._valid:
            self._note(function, entry)
        if function is lease.valid:
            self._valid = bool(answer)
        return answer

    def ward(self, instance: Instance, started_s: float) -> Ward:
        self._flush()
        self._ward = ward = TracedWard(instance, started_s, trace=self)
        self._note(Ward, ["Ward", list(instance), started_s])
        return ward

    def ward_changed(self, method: Callable[..., Ward], ward: Ward, *args: Any) -> Ward:
        """`method` of `ward`, noted without its answer."""
        self._ward = method(ward, *args)
        self._note(method, self._entry(method, args))
        return self._ward

    def verdict(self, now: float, verdict: Verdict) -> None:
        self._note(Ward.verdict, self._entry(Ward.verdict, (now, verdict)))

    def _entry(self, function: Callable[..., Any], values: Tuple[Any, ...]) -> List[Any]:
        """Its name, and the arguments, and the answer if that is among the values."""
        if function not in self._arguments:
            self._arguments[function] = [self._codecs.of(hint) for hint in get_type_hints(function).values()]
        return [name_of(function), *(codec.encode(value) for codec, value in zip(self._arguments[function], values))]

    def _map_number(self, gateway_map: Map) -> int:
        """By identity: a reader of the seats gives the same object for the same bytes, and it is kept here."""
        number = self._maps.get(id(gateway_map))
        if number is None:
            number = self._maps.give(id(gateway_map), gateway_map)
            self._line({"map": number, "value": self._plain_map.encode(gateway_map)})
        return number

    def _view_number(self, view: View) -> int:
        plain = self._plain_view.encode(view)
        key = json.dumps(plain)
        number = self._views.get(key)
        if number is None:
            number = self._views.give(key)
            self._line({"view": number, "value": plain})
        return number

    def _note(self, function: Callable[..., Any], entry: List[Any]) -> None:
        self._note_routine(entry)
        if function not in ROUTINE:
            self._flush()

    def _note_routine(self, entry: Any) -> None:
        self._entries.append(entry)
        if len(self._entries) >= ENTRIES_A_LINE:
            self._flush()

    def _flush(self) -> None:
        entries, self._entries = self._entries, []
        if entries:
            ward = {} if self._ward is None else {"ward": self._codecs.of(Ward).encode(self._ward)}
            self._line({"entries": entries, **ward})

    def _line(self, content: Dict[str, Any]) -> None:
        self._number += 1
        self._write(json.dumps({**self._who, "number": self._number, **content}, separators=(",", ":")))


@dataclass(frozen=True)
class TracedWard(Ward):
    """A lease that tells its trace what is done to it. `dataclasses.replace` keeps the type."""

    trace: Trace = field(default=None, compare=False, repr=False)  # type: ignore[assignment]

    def seats_read(self, view: View, sent_at_s: float, now: float) -> Ward:
        return self.trace.ward_changed(Ward.seats_read, self, view, sent_at_s, now)

    def mons_answered(self, now: float, out: bool = False) -> Ward:
        return self.trace.ward_changed(Ward.mons_answered, self, now, out)

    def target_answered(self, now: float) -> Ward:
        return self.trace.ward_changed(Ward.target_answered, self, now)

    def restrict_asked(self, now: float) -> Ward:
        return self.trace.ward_changed(Ward.restrict_asked, self, now)

    def restrict_confirmed(self) -> Ward:
        return self.trace.ward_changed(Ward.restrict_confirmed, self)

    def look(self, now: float) -> Ward:
        return self.trace.ward_changed(Ward.look, self, now)

    def verdict(self, now: float) -> Verdict:
        verdict = super().verdict(now)
        if verdict.order is not Order.KEEP:
            self.trace.verdict(now, verdict)
        return verdict


def _never(value: Any) -> Any:
    raise NotImplementedError("a trace is read by qa/conformance")


def name_of(function: Callable[..., Any]) -> str:
    """As it stands in an entry: `register.judge`, `Ward.look`."""
    return function.__qualname__ if "." in function.__qualname__ else (
        f"{function.__module__.rpartition('.')[2]}.{function.__name__}")


def start(settings: GatewaySettings, process: str) -> NoTrace:
    """The trace of this process, as the settings want it. Raises OSError when the file cannot be opened.

    Through a logging handler, so that a full disk is no reason to end, and a rotated file is opened anew.
    """
    if settings.trace_file is None:
        return NoTrace()
    log = logging.getLogger("gw_agent.trace")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(logging.handlers.WatchedFileHandler(settings.trace_file))
    return Trace(lambda line: log.info("%s", line), process, settings.name)
