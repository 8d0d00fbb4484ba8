"""What must hold after every step, in production too (DESIGN 9).  A violation stops the driver; it is never only logged."""

from __future__ import annotations

from .model import AnaGroup, Map, Phase

_P = Phase
_STEPS = {  # what one event may turn a phase into, several transitions taken together
    _P.UNSERVED: {_P.UNSERVED, _P.PROMOTING, _P.FENCING},
    _P.PROMOTING: {_P.PROMOTING, _P.ACTIVE, _P.DRAINING, _P.UNSERVED, _P.FENCING},
    _P.ACTIVE: {_P.ACTIVE, _P.DRAINING, _P.FENCING},
    _P.DRAINING: {_P.DRAINING, _P.UNSERVED, _P.PROMOTING, _P.ACTIVE, _P.FENCING},
    _P.FENCING: {_P.FENCING, _P.UNSERVED, _P.PROMOTING},
}


class InvariantViolated(AssertionError):
    """Names the invariant, the ANA group and both states."""


def _check(holds: bool, invariant: str, *values: object) -> None:
    if not holds:
        raise InvariantViolated(f"{invariant}: " + " -> ".join(map(str, values)))


def check_map(gateway_map: Map) -> None:
    """Invariants 1 to 3 on one map (``AnaGroup`` itself refuses two holders and a server beside other writers)."""
    for group in gateway_map.ana_groups:
        if group.server is not None:
            gateway = gateway_map.current(group.server)
            _check(gateway is not None, "only an admitted instance serves", group)
            assert gateway is not None
            _check(bool(gateway.addresses), "only an instance with known addresses serves", group)
        moved = group.moved_to is None or gateway_map.current(group.moved_to) is not None
        _check(moved, "an ANA group is moved to an admitted instance", group)
        for writer in group.writers:
            known = gateway_map.current(writer) or gateway_map.departure(writer)
            _check(known is not None, "every writer can be fenced: it is current or departed", group)
            assert known is not None
            _check(bool(known.addresses), "every writer can be fenced: its addresses are known", group)
        for departed in gateway_map.departed:
            fenced = departed.osd_epoch is not None and departed.instance in group.writers
            _check(not fenced or group.phase is Phase.FENCING, "a fenced instance serves nothing", group)


def check_step(old: Map, new: Map) -> None:
    """Invariants 2 to 4 between the maps before and after one event.

    Raises:
        InvariantViolated: the step must not be stored, and nothing further may be decided.
    """
    _check(new.version >= old.version, "(ballot, epoch) only grows", old.version, new.version)
    for before in old.gateways:
        after = new.gateway(before.id)
        _check(after is None or after.last_number >= before.last_number, "instance numbers only grow", before, after)
        if after is not None and after.instance is not None and after.instance == before.instance:
            _check(after.addresses >= before.addresses, "an instance's addresses only grow", before, after)
    for group in old.ana_groups:
        successor = new.ana_group(group.id)
        if successor is None:
            _check(not group.writers, "an ANA group that may be written is not removed", group)
        else:
            _check_ana_group(group, successor, new)
    for departed in old.departed:
        after_fence = new.departure(departed.instance)
        _check(departed.osd_epoch is None or after_fence is None or after_fence.osd_epoch == departed.osd_epoch,
               "a fence stays what it was", departed, after_fence)


def _check_ana_group(old: AnaGroup, new: AnaGroup, gateway_map: Map) -> None:
    _check(new.phase in _STEPS[old.phase], "a phase changes only along the table", old, new)
    _check(new.osd_epoch >= old.osd_epoch, "the barrier's osd_epoch only grows", old, new)
    _check(new.since >= old.since, "a phase's commit only grows", old, new)
    for writer in old.writers - new.writers:
        departed = gateway_map.departure(writer)
        if departed is not None:
            fenced = departed.osd_epoch is not None and new.osd_epoch >= departed.osd_epoch
            _check(fenced, "a writer that departed leaves only fenced, and the barrier covers its fence", old, new)
        else:
            # a live writer leaves by its own word only: drained, or declined with nothing made optimized
            spoke = old.phase in (Phase.DRAINING, Phase.PROMOTING) and gateway_map.current(writer) is not None
            _check(spoke, "a writer that lives leaves only by drain or decline", old, new)
    if new.server is not None and new.server not in old.writers:
        _check(new.phase in (Phase.PROMOTING, Phase.ACTIVE), "an instance begins to serve by promotion", old, new)
        incoming = gateway_map.current(new.server)
        frozen = incoming is not None and gateway_map.frozen(incoming)
        _check(not frozen, "nobody in a disaster location begins to serve", old, new)
