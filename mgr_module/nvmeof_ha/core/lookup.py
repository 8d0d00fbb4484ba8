"""What a map holds, by what it is asked for: made once for each map, because rules ask for each gateway and ANA group of each
other one, and for every beacon.  Decides nothing; ``model.Map`` has the questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, FrozenSet, Iterable, Mapping, NamedTuple, Tuple

if TYPE_CHECKING:
    from .model import AnaGroup, Departed, Gateway, Instance, Map


class Found(NamedTuple):
    """``served``: by the instance that may be optimized.  ``unfenced``: departed instances by their gateway's id."""

    gateways: Mapping[str, Gateway]
    ana_groups: Mapping[int, AnaGroup]
    served: Mapping[Instance, Tuple[AnaGroup, ...]]
    unfenced: Mapping[str, Tuple[Departed, ...]]


def found(gateway_map: Map) -> Found:
    served: Dict[Instance, Tuple[AnaGroup, ...]] = {}
    for group in gateway_map.ana_groups:
        if group.server is not None:
            served[group.server] = served.get(group.server, ()) + (group,)
    unfenced: Dict[str, Tuple[Departed, ...]] = {}
    for departed in gateway_map.departed:
        if departed.addresses and departed.osd_epoch is None:
            of = departed.instance.gateway
            unfenced[of] = unfenced.get(of, ()) + (departed,)
    return Found({g.id: g for g in gateway_map.gateways}, {g.id: g for g in gateway_map.ana_groups}, served, unfenced)


class Reported(NamedTuple):
    """Namespaces as the gateways report them.  ``most``: by ANA group, of the gateway that has most of them;
    ``by_nqn``: by ANA group and subsystem.  ``nqns``: of subsystems with any."""

    most: Mapping[int, int]
    by_nqn: Mapping[int, Mapping[str, int]]
    nqns: FrozenSet[str]


def reported(gateways: Iterable[Gateway]) -> Reported:
    most: Dict[int, int] = {}
    by_nqn: Dict[int, Dict[str, int]] = {}
    for gateway in gateways:
        here: Dict[int, int] = {}
        for subsystem in gateway.subsystems:
            for ana_group_id, count in dict(subsystem.namespaces).items():
                if count:
                    here[ana_group_id] = here.get(ana_group_id, 0) + count
                    of_group = by_nqn.setdefault(ana_group_id, {})
                    of_group[subsystem.nqn] = max(count, of_group.get(subsystem.nqn, 0))
        for ana_group_id, count in here.items():
            most[ana_group_id] = max(count, most.get(ana_group_id, 0))
    return Reported(most, by_nqn, frozenset(nqn for counts in by_nqn.values() for nqn in counts))
