"""Which namespace should move to which ANA group, so that gateways carry equal shares: pure, no I/O, no clock.

Two reasons to move: the group's owner is being deleted or is gone, and so must be everything in its group
(`evacuation`); or one group carries clearly more than another (`balancing`). What a namespace weighs is half its share
of all namespaces and half its share of all measured I/O, so that neither many idle namespaces nor a few busy ones
gather in one place.

Promises: each balancing move brings the two groups closer by a tenth of an average group or more, so moves end, and
noise moves nothing. Nothing is proposed while the map is not settled; how long it must have been so is the caller's to
know. Groups are balanced as their owners would serve them: which gateway stands in for another one is the mgr's
decision."""
from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from gw_agent.moves import Key
from nvmeof_ha_core.model import Map

WORTH = 0.1
"""Of the weight of an average group: what a balancing move must gain."""


class Proposal(NamedTuple):
    """`why`: for the log."""

    nqn: str
    nsid: int
    to: int
    why: str


def weights(groups: Mapping[Key, int], operations: Mapping[Key, float]) -> Dict[Key, float]:
    """Of each namespace; all together weigh 1. `groups`: ANA group by namespace. `operations`: I/O per second, where it
    is known."""
    total = sum(operations.get(key, 0.0) for key in groups)
    by_count = (1.0 if total <= 0 else 0.5) / max(1, len(groups))
    return {key: by_count + (0.5 * operations.get(key, 0.0) / total if total > 0 else 0.0) for key in groups}


def loads(among: Sequence[int], groups: Mapping[Key, int], operations: Mapping[Key, float]) -> Dict[int, float]:
    """Weight by ANA group."""
    found = dict.fromkeys(among, 0.0)
    for key, weight in weights(groups, operations).items():
        if groups[key] in found:
            found[groups[key]] += weight
    return found


def lightest(among: Sequence[int], groups: Mapping[Key, int], operations: Mapping[Key, float]) -> int:
    """Where a namespace should go: an empty group first, then the one that carries least."""
    found = loads(among, groups, operations)
    return min(among, key=lambda group: (found[group], group))


def receiving(gateway_map: Map) -> Tuple[int, ...]:
    """ANA groups whose owner is wanted."""
    wanted = {g.id for g in gateway_map.gateways if g.enabled and not g.deleting}
    return tuple(group.id for group in gateway_map.ana_groups if group.owner in wanted)


def leaving(gateway_map: Map, groups: Mapping[Key, int]) -> Tuple[int, ...]:
    """ANA groups that must be emptied: their owner is being deleted, or the map does not have them at all."""
    staying = {group.id for group in gateway_map.ana_groups for owner in [gateway_map.gateway(group.owner)]
               if owner is not None and not owner.deleting}
    return tuple(sorted(set(groups.values()) - staying))


def evacuation(gateway_map: Map, groups: Mapping[Key, int], operations: Mapping[Key, float],
               most: int) -> List[Proposal]:
    """At most so many, the ones that weigh most first."""
    among, empty, found = receiving(gateway_map), leaving(gateway_map, groups), dict(groups)
    weight = weights(groups, operations)
    proposals: List[Proposal] = []
    for key in sorted((k for k in groups if groups[k] in empty), key=lambda k: (-weight[k], k)) if among else ():
        if len(proposals) == most:
            break
        to = lightest(among, found, operations)
        proposals.append(Proposal(*key, to, f"the owner of ANA group {groups[key]} is being deleted, or is gone"))
        found[key] = to
    return proposals


def balancing(gateway_map: Map, groups: Mapping[Key, int], operations: Mapping[Key, float]) -> Optional[Proposal]:
    """The move that brings the heaviest and the lightest group closest, if it is worth it; only while every group is at
    its owner, because otherwise a gateway carries more than its group anyway."""
    among = receiving(gateway_map)
    if len(among) < 2 or not _at_home(gateway_map):
        return None
    weight, load = weights(groups, operations), loads(among, groups, operations)
    heavy, light = max(among, key=lambda g: (load[g], g)), min(among, key=lambda g: (load[g], g))
    apart = load[heavy] - load[light]
    left = {key: abs(apart - 2 * weight[key]) for key in groups if groups[key] == heavy}
    if not left:
        return None
    key = min(left, key=lambda k: (left[k], k))
    if apart - left[key] < WORTH * sum(load.values()) / len(among):
        return None
    return Proposal(*key, light, f"ANA group {heavy} carries {load[heavy]:.0%} of all, ANA group {light} "
                                 f"{load[light]:.0%}")


def _at_home(gateway_map: Map) -> bool:
    return all(g.holder is not None and g.holder.gateway == g.owner for g in gateway_map.ana_groups)


def state_of(gateway_map: Map) -> Tuple[object, ...]:
    """Changes with every failover, handover, start and end of a gateway, and with nothing else."""
    return (tuple((g.id, g.phase, g.since) for g in gateway_map.ana_groups),
            tuple((g.id, g.instance, g.availability) for g in gateway_map.gateways))
