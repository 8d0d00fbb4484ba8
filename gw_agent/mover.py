"""Carries out the moves of namespaces as `moves.py` decides them: says what this target holds, completes a move or
takes it back, and begins one.

Promises: a move ends by itself, whoever asked for it and whether that gateway still lives, once some gateway of the
group can read the seats and the configuration; who waits is told what came of it, and the log says which move is held
up by what. The map that a conclusion stands on was read after the record was. Does not promise more than `LIMIT_S` and
the delays of `moves.py` while RADOS answers; while it does not, nobody is served anyway."""
from __future__ import annotations

import asyncio
import errno
import logging
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, Optional, Set, Tuple

from gw_agent import moves
from gw_agent.boot_clock import boottime_s
from gw_agent.changes import Refused, subsystem
from gw_agent.config_store import Change, ConfigStore, Stored, StoreError
from gw_agent.move_words import MoveWords
from gw_agent.moves import Edit, Held, Key, Move, Outlook, Said, Verdict
from gw_agent.spdk_rpc import RpcFailure, RpcUnreachable
from gw_agent.target_run import TargetRun
from gw_agent.warden_client import WardenClient
from nvmeof_ha_core.model import Instance

log = logging.getLogger(__name__)

LOOK_S = 0.5
RETRY_S = 1.0
WORTH_A_WORD_S = 3.0
ANSWER_S = moves.LIMIT_S + 10.0


@dataclass
class _Seen:
    """`since_s`: this process has known the record since then. `outlook`: the last one."""

    since_s: float
    outlook: Outlook = Outlook(("the gateway map was not read again yet",))
    told: bool = False


class Mover:
    """Of one agent. `run`: its present target run, None while there is none."""

    def __init__(self, gateway_id: str, warden: WardenClient, store: "asyncio.Future[ConfigStore]", words: MoveWords,
                 run: Callable[[], Optional[TargetRun]]) -> None:
        self._gateway_id = gateway_id
        self._warden = warden
        self._store = store
        self._words = words
        self._run = run
        self._said: Optional[Said] = None
        self._seen: Dict[Move, _Seen] = {}
        self._asked: Set[Move] = set()

    async def serve(self) -> None:
        """Never returns."""
        said = ""
        while True:
            beat = self._warden.pulse.count
            try:
                await self._words.watch()
                busy, said = await self._look(), ""
            except (StoreError, RpcFailure) as error:
                busy = True
                if str(error) != said:
                    said = str(error)
                    log.warning("moves of namespaces wait: %s", error)
                await asyncio.sleep(RETRY_S)
            await self._warden.pulse.after(beat, LOOK_S if busy else None)

    def hung(self) -> Tuple[str, ...]:
        """The moves that nobody has completed or taken back in `WORTH_A_WORD_S`, and what they wait for."""
        return tuple(f"{move.text} to ANA group {move.to}: {'; '.join(seen.outlook.waits_for) or 'about to end'}"
                     for move, seen in self._seen.items() if seen.told)

    async def move(self, nqn: str, nsid: int, to: int) -> None:
        """Returns when the namespace is in that ANA group. Raises Refused, StoreError, RpcFailure."""
        run = self._run()
        if run is None:
            raise RpcUnreachable("no target runs; try again in a moment")
        _, after = await self._store.result().change(lambda now: self._record(now, nqn, nsid, to))
        move = next((m for m in moves.stored_moves(after.omap)[0] if m.key == (nqn, nsid)), None)
        if move is None:
            return   # it is there already
        self._asked.add(move)
        try:
            await run.apply_now()
            await self._ended(move)
        finally:
            self._asked.discard(move)

    def _record(self, now: Stored, nqn: str, nsid: int, to: int) -> Change:
        """Raises Refused."""
        found = subsystem(now, nqn)
        namespace = found.namespaces.get(nsid)
        if namespace is None:
            raise Refused(errno.ENOENT, f"there is no namespace {nsid} in subsystem {nqn}")
        if moves.move_key(nqn, nsid) in now.omap:
            raise Refused(errno.EBUSY, f"namespace {nsid} of {nqn} is being moved already; try again in a moment")
        gateway_map = self._warden.view.permits
        groups = [] if gateway_map is None else [g.id for g in gateway_map.ana_groups]
        if to not in groups:
            raise Refused(errno.ENODEV, f"ANA group (load balancing group) {to} does not exist; there are "
                          + ", ".join(map(str, groups)))
        if moves.limbo(found.max_namespaces) is None:
            raise Refused(errno.EOPNOTSUPP, f"subsystem {nqn} was made for {found.max_namespaces} namespaces; moving "
                          f"one safely needs {moves.MAX_GATEWAYS + 2}: two ANA group numbers that no gateway has")
        if namespace.ana_group_id == to:
            return Change()
        why = moves.unsettled(gateway_map)
        if why is not None:
            raise Refused(errno.EAGAIN, f"no namespace is moved now, because {why}: nobody would serve it meanwhile; "
                          "try again when all is well (`ceph nvmeof-ha status`)")
        run = self._run()
        if run is None or run.groups.wanted(nqn, nsid) != namespace.ana_group_id:
            raise Refused(errno.EAGAIN, f"namespace {nsid} of {nqn} is not in its ANA group {namespace.ana_group_id} "
                          "on this gateway's target yet; try again in a moment")
        return _change(moves.ask(now.version, (nqn, nsid), namespace.ana_group_id, to, self._gateway_id))

    async def _ended(self, move: Move) -> None:
        deadline_s = boottime_s() + ANSWER_S
        while boottime_s() < deadline_s:
            beat, run = self._warden.pulse.count, self._run()
            stored = None if run is None else run.held[0]
            if stored is not None and stored.version >= move.version and not moves.is_stored(stored.omap, move):
                found = stored.configuration.subsystems.get(move.nqn)
                namespace = None if found is None else found.namespaces.get(move.nsid)
                if namespace is not None and namespace.ana_group_id == move.to:
                    return
                raise Refused(errno.EAGAIN, f"{move.text} was not moved to ANA group {move.to}: "
                              + ("it was deleted" if namespace is None else self._why(move)))
            await self._warden.pulse.after(beat, LOOK_S)
        raise Refused(errno.EINPROGRESS, f"the move of {move.text} goes on by itself, or is taken back: "
                      + self._why(move), True)

    def _why(self, move: Move) -> str:
        seen = self._seen.get(move)
        return "; ".join(seen.outlook.waits_for if seen else ()) or "another gateway took it back"

    # -- what goes on -----------------------------------------------------------------------------------------

    async def _look(self) -> bool:
        """True while there is something to wait for."""
        run = self._run()
        stored = None if run is None else run.held[0]
        if run is None or stored is None:
            return False
        await self._say(run.instance, run.held[1])
        found, stray = moves.stored_moves(stored.omap)
        self._seen = {m: seen for m, seen in self._seen.items() if m in found or m in self._asked}
        for move in found:
            self._seen.setdefault(move, _Seen(boottime_s()))
        first = moves.rank_of(self._warden.view.permits, self._gateway_id) == 0
        changed = {key: shown for key, shown in run.groups.changed.items()
                   if moves.limbo(_max_namespaces(stored, key[0])) is not None}
        if first and (stray or changed):
            await self._tidy(run, stray, changed)
        said = await self._words.read() if found else {}
        for move in found:
            await self._follow(run, move, said)
        return bool(found or changed)

    async def _say(self, instance: Instance, held: FrozenSet[Held]) -> None:
        """What was held under a record that is over means nothing, so it need not be taken back."""
        if held and (self._said is None or self._said.instance != instance or not held <= self._said.held):
            said = Said(instance, held)
            await self._words.say(self._gateway_id, said)
            self._said = said

    async def _follow(self, run: TargetRun, move: Move, said: Dict[str, Said]) -> None:
        seen, gateway_map = self._seen[move], self._warden.view.permits
        delay_s = moves.delay_s(gateway_map, self._gateway_id, move in self._asked)
        age_s = boottime_s() - seen.since_s
        if gateway_map is None or delay_s is None:
            return
        if self._warden.agreed_s <= seen.since_s:
            self._warden.read_now()
            return
        seen.outlook = moves.outlook(gateway_map, move, said)
        self._tell(move, seen, age_s)
        verdict = moves.verdict(gateway_map, move, seen.outlook, age_s, delay_s)
        if verdict is not Verdict.WAIT:
            await self._end(run, move, verdict, seen.outlook)

    async def _end(self, run: TargetRun, move: Move, verdict: Verdict, outlook: Outlook) -> None:
        ended = False

        def make(now: Stored) -> Change:
            nonlocal ended
            edit = (moves.completion(now.omap, move, outlook.osd_epoch) if verdict is Verdict.COMPLETE else
                    moves.taking_back(now.omap, move))
            ended = edit is not None
            return _change(edit)

        await self._store.result().change(make)
        if ended:
            done = verdict is Verdict.COMPLETE
            log.log(logging.INFO if done else logging.WARNING, "%s: its move to ANA group %d is %s%s", move.text,
                    move.to, "completed" if done else "taken back", "".join(f"; {t}" for t in outlook.waits_for))
        await run.apply_now()

    def _tell(self, move: Move, seen: _Seen, age_s: float) -> None:
        if age_s >= WORTH_A_WORD_S and not seen.told:
            seen.told = True
            log.warning("nobody has served %s for %.0f s: its move to ANA group %d waits: %s", move.text, age_s,
                        move.to, "; ".join(seen.outlook.waits_for))

    async def _tidy(self, run: TargetRun, stray: Tuple[str, ...], changed: Dict[Key, int]) -> None:
        """Records that mean nothing go; what somebody changed without a move becomes one."""
        def make(now: Stored) -> Change:
            gone = frozenset(key for key in stray if key in moves.stored_moves(now.omap)[1])
            edits = [moves.conversion(now.omap, now.version, key, shown, self._gateway_id)
                     for key, shown in changed.items()]
            sets = {key: value for edit in edits if edit is not None for key, value in edit.sets.items()}
            return Change(sets, gone - frozenset(sets))

        await self._store.result().change(make)
        await run.apply_now()


def _max_namespaces(now: Stored, nqn: str) -> int:
    found = now.configuration.subsystems.get(nqn)
    return 0 if found is None else found.max_namespaces


def _change(edit: Optional[Edit]) -> Change:
    return Change() if edit is None else Change(edit.sets, edit.removes)
