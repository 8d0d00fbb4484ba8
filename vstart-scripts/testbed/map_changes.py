"""What a gateway map says, and what a newer one says that an older did not, in words for a timeline.

Compares enums by value: the core is imported under two names, and so has two of each.
"""

from __future__ import annotations

from typing import List, Optional

from nvmeof_ha_core.model import AnaGroup, Availability, Gateway, Instance, Map, Phase


def changes(old: Optional[Map], new: Map) -> List[str]:
    """What `new` says that `old` did not, one text each."""
    texts = []
    for gateway in new.gateways:
        before = old.gateway(gateway.id) if old else None
        if before is None or _gateway_key(before) != _gateway_key(gateway):
            texts.append(_gateway_text(gateway))
    for departed in new.departed:
        known = old.departure(departed.instance) if old else None
        if known is None and departed.osd_epoch is None:
            texts.append(f'{short_instance(departed.instance)} has departed')
        if departed.osd_epoch is not None and (known is None or known.osd_epoch is None):
            texts.append(f'{short_instance(departed.instance)} is fenced ({len(departed.addresses)} addresses) '
                         f'at osd_epoch {departed.osd_epoch}')
    known_sites = old.disasters if old else ()
    texts += [f'location {d.location} {"recovers" if d.clearing else "is in disaster"}'
              for d in new.disasters if d not in known_sites]
    texts += [f'location {d.location} is as others again' for d in known_sites
              if d.location not in [site.location for site in new.disasters]]
    for group in new.ana_groups:
        earlier = old.ana_group(group.id) if old else None
        if earlier is None or (earlier.phase, earlier.server) != (group.phase, group.server):
            texts.append(_group_text(group))
    return texts


def settled(gateway_map: Optional[Map]) -> bool:
    """Every gateway is AVAILABLE and every ANA group ACTIVE at its owner."""
    return (gateway_map is not None and bool(gateway_map.ana_groups)
            and all(available(gateway_map, gateway.id) for gateway in gateway_map.gateways)
            and all(group.phase == Phase.ACTIVE and group.holder is not None
                    and group.holder.gateway == group.owner for group in gateway_map.ana_groups))


def available(gateway_map: Optional[Map], gateway_id: str) -> bool:
    gateway = gateway_map.gateway(gateway_id) if gateway_map else None
    return gateway is not None and gateway.availability == Availability.AVAILABLE


def _gateway_key(gateway: Gateway) -> tuple:
    return gateway.availability, gateway.instance, gateway.leaving, gateway.enabled


def _gateway_text(gateway: Gateway) -> str:
    instance = f' as {short_instance(gateway.instance)}' if gateway.instance else ''
    more = f'{" and leaving" if gateway.leaving else ""}{"" if gateway.enabled else ", disabled"}'
    return f'{gateway.id} is {gateway.availability.value}{instance}{more}'


def _group_text(group: AnaGroup) -> str:
    text = f'ANA group {group.id} is {group.phase.value}'
    if group.phase == Phase.PROMOTING and group.incoming:
        return f'{text} to {short_instance(group.incoming)}, which must have seen osd_epoch {group.osd_epoch}'
    if group.phase == Phase.DRAINING:
        return f'{text} at {short_instance(group.holder)}, to move to {group.target or "another gateway"}'
    if group.phase == Phase.FENCING:
        return f'{text} off {", ".join(sorted(map(short_instance, group.writers)))}'
    return f'{text} at {short_instance(group.holder)}' if group.holder else text


def short_instance(instance: Optional[Instance]) -> str:
    return f'{instance.gateway}#{instance.number}' if instance else 'nobody'
