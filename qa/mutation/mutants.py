"""The guards, each with what is done without it."""

from __future__ import annotations

from typing import Tuple

from .copies import Mutant, Patch

MACHINE, EMISSION, INTENT = "nvmeof_ha/core/machine.py", "nvmeof_ha/core/emission.py", "nvmeof_ha/core/intent.py"
REGISTER, GATEWAY, LEASE = "nvmeof_ha/core/register.py", "nvmeof_ha/core/gateway.py", "nvmeof_ha/core/lease.py"
PLACEMENT, DETECTOR, REST = "nvmeof_ha/core/placement.py", "nvmeof_ha/core/detector.py", "nvmeof_ha/core/rest.py"
MOVES = "gw_agent/moves.py"
ANSWERS, LOCATIONS, REBUILD = "nvmeof_ha/core/answers.py", "nvmeof_ha/core/locations.py", "nvmeof_ha/core/rebuild.py"
STANDBY, SIM_AGENT = "nvmeof_ha/core/standby.py", "sim/agent.py"
FENCER, SEATS, TAKEOVER = "nvmeof_ha/fencer.py", "nvmeof_ha/seats.py", "nvmeof_ha/takeover.py"


def one(name: str, file: str, old: str, new: str) -> Mutant:
    return Mutant(name, (Patch(file, old, new),))


INSTANCES: Tuple[Mutant, ...] = (
    one("a permission names the gateway, whichever instance", REGISTER,
        "group.permitted == instance",
        "group.permitted is not None and group.permitted.gateway == instance.gateway"),
    one("a new instance is admitted while its predecessor may live", MACHINE,
        "    if gateway.instance is not None:\n        return _refuse(state, str(instance), f\"gateway id",
        "    if False:\n        return _refuse(state, str(instance), f\"gateway id"),
    one("an instance that was over once is admitted again", MACHINE,
        "    if instance.number <= gateway.last_number:\n", "    if False:\n"),
    one("a gateway that is created again begins with the first instance number", INTENT,
        "last_number=gateway_map.number_floor)", "last_number=0)"),
    one("a strange instance's beacons keep its predecessor's gateway from being suspected", "nvmeof_ha/core/pulses.py",
        "gateway.instance == beacon.instance is not None", "beacon.instance is not None"),
    one("a beacon that came late says that its gateway is there now", "nvmeof_ha/core/pulses.py",
        "if beacon.sequence > sequence.get(gateway, -1):", "if True:"),
    one("an instance that the map calls over goes on", LEASE,
        "        if self.over:\n            return Verdict(Order.KILL, self.over)\n", ""),
)

ADDRESSES: Tuple[Mutant, ...] = (
    one("promoted before the mon KV store holds its addresses", PLACEMENT,
        "bool(gateway.addresses) and record is not None\n"
        "            and record.instance == gateway.instance and gateway.addresses <= record.addresses)",
        "bool(gateway.addresses))"),
    one("optimized while a context's address is not in the map", GATEWAY,
        "bool(target.addresses) and target.addresses <= gateway.addresses\n            and ", ""),
    one("only one address of a gateway is blocklisted", EMISSION,
        "Fence(departed.instance, departed.addresses)",
        "Fence(departed.instance, frozenset(sorted(departed.addresses)[:1]))"),
    one("an ANA group that is made again forgets what was fenced in it", "nvmeof_ha/core/model.py",
        "AnaGroup(ana_group_id, owner, osd_epoch=self.osd_epoch_floor)", "AnaGroup(ana_group_id, owner)"),
    one("a gateway that is killed on its way out is not fenced", MACHINE, "in_order=beacon.leaving)", "in_order=True)"),
    one("an address that a beacon no longer names is forgotten", MACHINE,
        "    found = gateway.addresses | beacon.addresses\n", "    found = beacon.addresses\n"),
)

FENCES: Tuple[Mutant, ...] = (
    one("a group that cannot drain is fenced off its gateway alone", MACHINE,
        "    return change(state, group, phase=Phase.ACTIVE)\n",
        "    return change(state, group, phase=Phase.FENCING, holder=None)\n"),
    one("what a lost instance served is promoted without a fence", MACHINE,
        "        state = change(state, group, phase=Phase.FENCING, holder=None, incoming=None)\n    soft = state.soft\n",
        "        state = _unserved(state, group)\n    soft = state.soft\n"),
    one("the first fence of several writers is enough", MACHINE,
        "    left = group.writers - set(fences)\n", "    left = frozenset()\n"),
    one("the barrier does not cover the fence", MACHINE,
        "    osd_epoch = max([group.osd_epoch, *(e for e in fences.values() if e is not None)])\n",
        "    osd_epoch = group.osd_epoch\n"),
    Mutant("optimized before the contexts have passed the fence", (
        Patch(GATEWAY, "    barrier = max((g.osd_epoch for g in missing), default=0)\n", "    barrier = 0\n"),
        Patch(GATEWAY, "frozenset(g.id for g in missing if g.osd_epoch <= target.passed_osd_epoch)",
              "frozenset(g.id for g in missing)"))),
    one("the fence's osd_epoch is read before the mons acknowledged it", FENCER,
        "Fenced(attempt.instance, epoch)", "Fenced(attempt.instance, epoch - 1)"),
    Mutant("a failed fence counts as one", (
        Patch(FENCER, "        if answer.code:\n            self._fail(attempt, f\"`ceph",
              "        if False:\n            self._fail(attempt, f\"`ceph"),
        Patch(FENCER, "        if missing:\n", "        if False:\n"))),
    one("fenced before the map that says so is stored", EMISSION,
        "_fences(state, committed, now, actions)", "_fences(state, state.map, now, actions)"),
    one("a writer that is being fenced is acquitted", MACHINE,
        "or beacon.stuck or named or _disobeys", "or beacon.stuck or _disobeys"),
)

LEASES: Tuple[Mutant, ...] = (
    one("W is not waited for", MACHINE,
        "                and now >= acked.at + state.map.lease_wait_s\n", ""),
    one("W counts from the last beacon, not from the stored suspicion", MACHINE,
        "now >= acked.at + state.map.lease_wait_s\n",
        "now >= state.soft.heard.get(gateway.id, acked.at) + state.map.lease_wait_s\n"),
    one("a second suspicion goes on with the first one's W", ANSWERS,
        "suspect_acked=note_acked(soft.suspect_acked, suspects, now)",
        "suspect_acked={**soft.suspect_acked, **note_acked(soft.suspect_acked, suspects, now), **{"
        "k: a._replace(version=suspects[k]) for k, a in soft.suspect_acked.items() if k in suspects}}"),
    one("a new mgr takes the W of a suspicion it finds as over", ANSWERS,
        "suspect_acked=note_acked(soft.suspect_acked, suspects, now)",
        "suspect_acked=note_acked(soft.suspect_acked, suspects, now - committed.lease_wait_s if first else now)"),
    one("a shorter lease shortens W at once", INTENT,
        "    wait_s = max(state.map.lease_wait_s, event.timing.lease_wait_s)\n",
        "    wait_s = event.timing.lease_wait_s\n"),
    one("a suspected instance extends its lease", LEASE,
        "\n            and not view.suspected(instance) and not view.over(instance))", ")"),
    one("the lease counts from the arrival of the read", LEASE,
        "extend(self.lease_until_s, view, self.instance, sent_at_s)", "extend(self.lease_until_s, view, self.instance, now)"),
    one("the warden does nothing at the end of the lease", LEASE,
        "        if now < self.lease_until_s:\n", "        if True:\n"),
    one("the agent does nothing at the end of the lease", GATEWAY,
        "    return lease_valid and view.may_keep(instance, ana_group_id)\n",
        "    return view.may_keep(instance, ana_group_id)\n"),
    one("optimized outside the lease", GATEWAY,
        "    if not lease_valid or view.permits is None or", "    if view.permits is None or"),
    one("a target that does not confirm being inaccessible lives on", LEASE,
        "            if now - since_s >= self.timing.restrict_s / 2:\n", "            if False:\n"),
    one("a frozen target lives on", LEASE,
        "        if now - self.target_heard_s >= self.timing.frozen_s:\n", "        if False:\n"),
    one("a target that is cut off keeps its I/O for ever", LEASE,
        "        if now - max(self.contact_s, self.lease_until_s) >= self.timing.isolated_s:\n", "        if False:\n"),
)

REGISTERS: Tuple[Mutant, ...] = (
    one("a new mgr reads a seat before it has claimed it", TAKEOVER,
        "        claimed, not_claimed = yield from self._claim(seats, writable, ballot, again)\n"
        "        maps, not_read = yield from self._read(seats, claimed, in_use)\n",
        "        maps, not_read = yield from self._read(seats, writable, in_use)\n"
        "        claimed, not_claimed = yield from self._claim(seats, writable, ballot, again)\n"),
    one("a new mgr goes on from the first map it finds, not the newest", REGISTER,
        "    return max(found, key=lambda m: m.version, default=None)\n", "    return found[0] if found else None\n"),
    one("a new mgr goes on from a seat that did not take its claim", REGISTER,
        "    usable = [seat for seat in claimed if seat in maps and not (in_use and maps[seat] is None)]\n",
        "    usable = list(maps)\n"),
    one("a new mgr acts before its first commit is acknowledged", EMISSION,
        "    committed = state.committed\n    if committed is None:\n        return state, ()\n",
        "    committed = state.committed or state.map\n"),
    one("a new mgr decides before its first commit is acknowledged", MACHINE,
        "    if state.committed is not None:\n        state = _settle(state, now)\n", "    state = _settle(state, now)\n"),
    one("a commit is done when one seat took it", REGISTER,
        "Progress.DONE if len(self.seats) >= QUORUM else", "Progress.DONE if len(self.seats) >= 1 else"),
    one("a seat takes a write that is older than what it holds", SEATS,
        "    return ObjectWrite(guard=Guard(CLAIM_KEY, Relation.LOWER, values[CLAIM_KEY]), omap=values)\n",
        "    return ObjectWrite(omap=values)\n"),
    one("a higher ballot on a seat deposes nobody", REGISTER,
        "        if any(claim.ballot > self.version.ballot for claim in self.stored.values()):\n", "        if False:\n"),
    one("a deposed mgr goes on", MACHINE, "    if state.stopped:\n        return state, ()\n", ""),
    one("one seat is enough to permit", REGISTER,
        "    agreed = max((v for v in versions if versions.count(v) >= QUORUM), default=None)\n",
        "    agreed = max(versions, default=None)\n"),
    one("what a newer seat restricts is permitted by two older ones", REGISTER,
        "    restricts = tuple(m for m in seen if agreed is None or m.version >= agreed)\n",
        "    restricts = tuple(m for m in seen if agreed is None or m.version == agreed)\n"),
    one("a restriction is undone by a read that misses its seat", REGISTER,
        "    return View(permits, fresh.restricts + tuple(newer.values()) or standing.restricts,\n",
        "    return View(permits, fresh.restricts or standing.restricts,\n"),
    one("a gateway acts on an older map than before", REGISTER,
        "    seen = [m for m in answers if m is not None and m.version >= floor]\n",
        "    seen = [m for m in answers if m is not None]\n"),
    one("a commit is sent before the one before it is acknowledged", EMISSION,
        "    if state.in_flight is None and state.map.content()", "    if state.map.content()"),
    one("a gateway is removed before its record says that it is being deleted", INTENT,
        "        if not gateway.deleting or group is None or (recorded_only and not recorded):\n",
        "        if not gateway.deleting or group is None:\n"),
    one("an ANA group is removed before the stored map says that nobody serves it", INTENT,
        "        if group.phase is not Phase.UNSERVED or stored is None or stored.since != group.since:\n",
        "        if group.phase is not Phase.UNSERVED:\n"),
)

CONFIRMATIONS: Tuple[Mutant, ...] = (
    one("permission and lease are not looked at again after the barrier", SIM_AGENT,
        "            self._known = replace(self._known, passed_osd_epoch=target.osd_epoch)\n",
        "            self._known = replace(self._known, passed_osd_epoch=target.osd_epoch)\n"
        "            if waiting:\n                self._set(target, waiting, OPTIMIZED, self.process.clock.now())\n"),
    one("a drain that is overdue counts as drained", MACHINE,
        "    return change(state, group, phase=Phase.ACTIVE)\n", "    return _unserved(state, group)\n"),
    one("a gateway confirms to be drained with I/O in flight", GATEWAY,
        "        done = state == INACCESSIBLE and target.drained.get(group.id) == group.since\n",
        "        done = state == INACCESSIBLE\n"),
    one("a confirmation of an earlier commit counts", MACHINE,
        "group is None or group.since != said.since or group.server", "group is None or group.server"),
    one("a new agent takes what its predecessor may have declined", GATEWAY,
        "    if view.permits is None:\n        return {}\n    return {g.id", "    if True:\n        return {}\n    return {g.id"),
    one("a suspect is acquitted before it has applied the restrictions", MACHINE,
        "        if beacon.version < gateway.suspected_at or beacon.stuck", "        if beacon.stuck"),
    one("a gateway that leaves a promotion unanswered is never suspected", MACHINE,
        "    if gateway.id in state.soft.stuck or _disobeys(state, gateway, now):\n",
        "    if gateway.id in state.soft.stuck:\n"),
    one("a gateway that still leaves a promotion unanswered is acquitted", MACHINE,
        "or named or _disobeys(state, gateway, now):\n            return state\n", "or named:\n            return state\n"),
    one("beacons are heard in any order", MACHINE,
        "    if beacon.sequence <= state.soft.sequence.get(gateway.id, -1):\n", "    if False:\n"),
)

DOUBTS: Tuple[Mutant, ...] = (
    one("a mgr whose tick was late believes the silence", DETECTOR,
        "    return passed if late or green_seats < HEARING_SEATS else 0.0\n",
        "    return passed if green_seats < HEARING_SEATS else 0.0\n"),
    one("a mgr whose canary is red believes the silence", DETECTOR,
        "    return passed if late or green_seats < HEARING_SEATS else 0.0\n", "    return passed if late else 0.0\n"),
    one("a suspect is over while nobody could be heard", MACHINE,
        "\n                and now >= state.soft.hearing_since + state.map.timing.suspect_s)", ")"),
    one("most gateways that fade at once are suspected like one", DETECTOR,
        "    limit_s = timing.suspect_s * (2 if mass else 1)\n", "    limit_s = timing.suspect_s\n"),
    one("a warden that was paused kills its target for the silence", LEASE,
        "        if now - self.looked_s > self.timing.beacon_s:\n", "        if False:\n"),
    one("a gateway may fall silent while all is well", REST, " and fades_in_s(after, now) > 0\n", "\n"),
    one("what a beacon has changed beside the map is not acted on while all is well", REST,
        " and _decisive(after.soft) == _decisive(before.soft)", ""),
)

STANDBYS: Tuple[Mutant, ...] = (
    one("a standby has a mgr failed that answers it", STANDBY,
        "replace(group, calls={}, since=None, stopping", "replace(group, stopping"),
    one("a standby has whoever is active failed", STANDBY,
        "    if event.active_gid != verdict.gid:\n", "    if False:\n"),
    one("a standby has a mgr failed that was stopped on purpose", STANDBY, "    if stopping:\n", "    if False:\n"),
    one("a standby has a mgr failed that is still starting", STANDBY,
        "    if now - state.active.first < GRACE_S:\n", "    if False:\n"),
    one("two standbys have a mgr failed each in one interval", STANDBY,
        "event.failed_ago_s is not None and ", "False and event.failed_ago_s is not None and "),
    one("a standby has a mgr failed although it cannot read the seats", STANDBY,
        "    if group.read < group.since:\n", "    if False:\n"),
    one("a standby has a mgr failed although RADOS does not answer it", STANDBY,
        "    elif max(group.since, now - ECHO_S) > group.echoed:\n", "    elif False:\n"),
    one("what agents said while a standby did not run counts", STANDBY, "fresh = {} if late else {", "fresh = {"),
    one("calls about an earlier mgr have its successor failed", STANDBY,
        "if call.sos.gid == gid]", "if call.sos.gid]"),
)

NAMESPACES: Tuple[Mutant, ...] = (
    one("a move does not wait for a gateway that is not AVAILABLE", MOVES,
        "        if gateway.instance is not None and (word",
        "        if gateway.availability is Availability.AVAILABLE and word is not None and (word"),
    one("what was held for an earlier move counts for the next", MOVES,
        "                                             or held not in word.held):",
        "                                             or held[:2] not in {h[:2] for h in word.held}):"),
    one("a move is completed over an instance that is not fenced", MOVES,
        "    return Outlook((*waits, *found.missing), found.osd_epoch)\n",
        "    return Outlook(tuple(waits), found.osd_epoch)\n"),
    one("a completed move forgets what was fenced", MOVES,
        "**raised_fence(omap, osd_epoch)}\n", "}\n"),
    one("a group that others changed is followed at once", MOVES,
        "        return stored if agreed is None else agreed\n    return found\n",
        "        return stored if agreed is None else agreed\n    return stored\n"),
    one("a namespace leaves limbo for the group that others stored", MOVES,
        "        return stored if agreed is None else agreed\n", "        return stored\n"),
    one("a move that is not completed is never taken back", MOVES,
        "    return Verdict.TAKE_BACK if age_s >= LIMIT_S + delay_s else Verdict.WAIT\n", "    return Verdict.WAIT\n"),
)

SITES: Tuple[Mutant, ...] = (
    one("a gateway of a lost site is given an ANA group", PLACEMENT, " and not gateway_map.frozen(gateway)\n", "\n"),
    one("all ANA groups of a recovering site move at once", LOCATIONS,
        "    if Disaster(candidate.location, True) not in gateway_map.disasters:\n", "    if True:\n"),
    one("an ANA group whose owner is down stays outside its site", "nvmeof_ha/core/handover.py",
        "    if candidate.id != group.home and not placement.nearer(state.map, group, candidate, holder):\n",
        "    if candidate.id != group.home:\n"),
    one("a recovery is over before anybody of the site runs", LOCATIONS,
        "        if holder not in running or (", "        if running and holder not in running or ("),
    one("a site is declared lost while its gateways serve", LOCATIONS, "    if alive:\n", "    if False:\n"),
)

ORDERS: Tuple[Mutant, ...] = (
    one("gateways are drained although nobody else can serve", "nvmeof_ha/core/handover.py",
        "    if problems:\n        return state, (Reply(event.request_id, errno.EBUSY", "    if False:\n        return state, (Reply("
        "event.request_id, errno.EBUSY"),
    one("a gateway that is drained too is taken for the one that serves then", "nvmeof_ha/core/handover.py",
        "    taker = best(state, group, now, without=drained)\n", "    taker = best(state, group, now)\n"),
    one("what an operator has fenced is promoted without a fence", MACHINE,
        "    return _depart(state, gateway.instance, now), (Reply(event.request_id, 0),)\n",
        "    return _depart(state.with_map(state.map.with_gateway(replace(gateway, addresses=frozenset()))),\n"
        "                   gateway.instance, now), (Reply(event.request_id, 0),)\n"),
)

LOST_SEATS: Tuple[Mutant, ...] = (
    one("lost seats: only the latest instance of each gateway is a writer", REBUILD,
        "frozenset(i for i, found in addresses.items() if found and i not in over)\n    departed",
        "current\n    departed"),
    one("lost seats: nobody is a writer", REBUILD,
        "Phase.FENCING if writers else Phase.UNSERVED, writers=writers,", "Phase.UNSERVED,"),
    one("lost seats: the barrier is that of an older map", REBUILD,
        "    passed = osd_epoch if known is None else max(osd_epoch, known.osd_epoch)\n",
        "    passed = 0 if known is None else known.osd_epoch\n"),
    one("lost seats: versions begin where the older map ended", REBUILD,
        "found.version.epoch + EPOCH_LEAP", "found.version.epoch"),
    one("lost seats: rebuilt while a seat does not answer", TAKEOVER, "        if uncertain:\n", "        if False:\n"),
    one("a record forgets an instance that is not fenced", EMISSION,
        "record_of(gateway, state.map.unfenced(gateway.id),", "record_of(gateway, (),"),
    one("a removed gateway's record goes before it is fenced", EMISSION,
        "        if state.map.unfenced(gateway_id):\n            continue\n", ""),
    one("the map names a new address before its record does", MACHINE,
        "not state.map.served_by(gateway.instance):\n        return state, found", "True:\n        return state, found"),
    one("a writer that left in order is not fenced", MACHINE,
        "    wrote = any(instance in group.writers for group in state.map.ana_groups)\n", "    wrote = bool(served)\n"),
    one("a seat without a map is an answer", REGISTER, " and not (in_use and maps[seat] is None)]", "]"),
)

MUTANTS: Tuple[Mutant, ...] = LOST_SEATS + ORDERS + SITES + NAMESPACES + INSTANCES + ADDRESSES + FENCES + LEASES + REGISTERS + CONFIRMATIONS + DOUBTS + STANDBYS
