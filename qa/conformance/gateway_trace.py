"""Replays the trace of one warden or agent process: each call again, and each with what the one before had answered."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, get_type_hints

from nvmeof_ha.core import gateway, lease, register
from nvmeof_ha.core.lease import Order, Verdict, Ward
from nvmeof_ha.core.model import Instance, Map
from nvmeof_ha.core.plain import Codec, Codecs, PlainError
from nvmeof_ha.core.register import NOTHING_SEEN, View

from .findings import Result, Violation

FUNCTIONS = {f"{module.__name__.rpartition('.')[2]}.{name}": function for module in (register, lease, gateway)
             for name, function in vars(module).items() if callable(function)}
CHANGES = {f"Ward.{name}": getattr(Ward, name) for name in (
    "seats_read", "mons_answered", "target_answered", "restrict_asked", "restrict_confirmed", "look")}


class ProcessReplay:
    def __init__(self, result: Result) -> None:
        self._result = result
        self._number = 0
        self._maps: Dict[int, Map] = {}
        self._views: Dict[int, View] = {}
        self._calls: Dict[int, Tuple[str, Dict[str, Any], Any]] = {}
        self._plain_map = Codecs().of(Map)
        by_number = {Map: Codec(_never, lambda number: self._known(self._maps, number, "map"))}
        self._plain_view = Codecs(by_number).of(View)
        self._codecs = Codecs({**by_number, View: Codec(_never, lambda n: self._known(self._views, n, "view"))})
        self._standing = self._fresh = NOTHING_SEEN
        self._until_s = 0.0
        self._valid: Optional[bool] = None
        self._permitted: Optional[Instance] = None
        self._ward: Optional[Ward] = None
        self._due: Optional[List[Any]] = None
        """The verdict that must come next, with its time."""
        self.agreed: List[Map] = []
        """Maps that permitted something, not compared yet."""

    def take(self, line: Dict[str, Any]) -> None:
        """One line.  Raises ``Violation``."""
        missing, self._number = line["number"] - self._number - 1, line["number"]
        if missing:
            raise Violation(f"{missing} lines are missing before number {line['number']}, or their numbers are wrong")
        try:
            if "map" in line:
                self._maps[line["map"]] = self._plain_map.decode(line["value"])
            elif "view" in line:
                self._views[line["view"]] = view = self._plain_view.decode(line["value"])
                self.agreed += [] if view.permits is None else [view.permits]
            else:
                self._entries(line)
        except (PlainError, KeyError) as error:
            raise Violation(f"the line is damaged: {error}") from None

    def _entries(self, line: Dict[str, Any]) -> None:
        for entry in line["entries"]:
            self._result.calls += 1
            if self._due is not None and entry != self._due:
                raise Violation(f"the verdict {self._due} was due, logged is {entry}")
            self._one(entry)
        if "ward" in line and self._codecs.of(Ward).decode(line["ward"]) != self._ward:
            raise Violation(f"the lease is another one than in the replay\n  logged   {line['ward']}\n"
                            f"  replayed {self._ward}")

    def _one(self, entry: Any) -> None:
        if isinstance(entry, int):
            name, args, answer = self._known(self._calls, entry, "call")
            self._follows(name, args, answer, entry)
        elif isinstance(entry[0], int):
            called = self._called(entry[1:])
            self._calls[entry[0]] = called
            self._follows(*called, entry)
        elif entry[0] == "Ward":
            self._ward_begins(entry)
        elif entry[0] == "Ward.verdict":
            if self._due is None:
                raise Violation(f"no verdict was due, logged is {entry}")
            self._due = None
        elif entry[0] in CHANGES:
            self._ward_changes(entry)
        else:
            self._follows(*self._called(entry), entry)

    def _called(self, entry: Sequence[Any]) -> Tuple[str, Dict[str, Any], Any]:
        """Call it again.  Returns its name, arguments by name, and answer."""
        name, *plain = entry
        if name not in FUNCTIONS:
            raise Violation(f"the core has no function {name}")
        *names, last = hints = _hints(FUNCTIONS[name])
        if len(plain) != len(hints):
            raise Violation(f"{name} takes {', '.join(names)}; logged is {entry}")
        args = {key: self._codecs.of(hints[key]).decode(value) for key, value in zip(names, plain)}
        logged, answer = self._codecs.of(hints[last]).decode(plain[-1]), FUNCTIONS[name](**args)
        if answer != logged:
            raise Violation(f"the replay comes to something else after {name}{tuple(args.values())}\n"
                            f"  logged   {logged}\n  replayed {answer}")
        return name, args, answer

    # -- what each was given --------------------------------------------------------------------------------------

    def _follows(self, name: str, args: Dict[str, Any], answer: Any, entry: Any) -> None:
        def same(key: str, *allowed: Any) -> None:
            if key in args and args[key] not in allowed:
                raise Violation(f"{name} was given {key} = {args[key]}, which is not what was answered before: "
                                f"{' or '.join(map(str, allowed))}; logged is {entry}")
        if name == "register.judge":
            same("floor", self._standing.version)
            self._fresh = answer
        elif name == "register.merge":
            same("standing", self._standing)
            same("fresh", self._fresh)
            self._standing = answer
        elif name.startswith("lease."):
            same("view", self._fresh)
            same("until_s", self._until_s, 0.0)  # a lease that ended with its instance begins at nothing
            self._note_lease(name, args, answer)
        else:
            same("view", self._standing)
            same("lease_valid", self._valid)

    def _note_lease(self, name: str, args: Dict[str, Any], answer: Any) -> None:
        if name == "lease.extend":
            self._until_s = answer
        elif name == "lease.valid":
            self._until_s, self._valid = args["until_s"], answer
        elif name == "lease.permitting":
            self._permitted = args["instance"] if answer else None

    def _ward_begins(self, entry: List[Any]) -> None:
        instance = Instance(*entry[1])
        if instance != self._permitted:
            raise Violation(f"a target of {instance} was started, permitted is {self._permitted}")
        self._ward = Ward(instance, entry[2])

    def _ward_changes(self, entry: List[Any]) -> None:
        change: Callable[..., Ward] = CHANGES[entry[0]]
        hints = [hint for key, hint in _hints(change).items() if key != "return"]
        args = [self._codecs.of(hint).decode(value) for hint, value in zip(hints, entry[1:])]
        if self._ward is None:
            raise Violation(f"there is no lease for {entry}")
        if change is Ward.seats_read and args[0] != self._fresh:
            raise Violation(f"the lease was told of another read than the last one: {entry}")
        self._ward = change(self._ward, *args)
        if change is Ward.look:
            verdict = self._ward.verdict(args[0])
            if verdict.order is not Order.KEEP:
                self._due = ["Ward.verdict", args[0], self._codecs.of(Verdict).encode(verdict)]

    @staticmethod
    def _known(known: Dict[int, Any], number: int, kind: str) -> Any:
        if number not in known:
            raise Violation(f"{kind} {number} was not logged before")
        return known[number]


@lru_cache(maxsize=None)
def _hints(function: Callable[..., Any]) -> Dict[str, Any]:
    return get_type_hints(function)


def _never(value: Any) -> Any:
    raise NotImplementedError("nothing is written here")
