"""The values that the golden files of ``proto/wire`` show: every field set to something that is not its default."""

from __future__ import annotations

from nvmeof_ha.core import wire
from nvmeof_ha.core.events import Beacon, Confirmation, Notes, Outcome, TargetState
from nvmeof_ha.core.model import (AnaGroup, Availability, Departed, Disaster, Gateway, Instance, Map, Phase, Subsystem,
                                 Version)
from nvmeof_ha.core.timing import Timing

OLD = Instance("gw1", 2, "5d1c6c0f")
HOLDER = Instance("gw2", 1, "a7e0b2c4")

SUBSYSTEMS = (
    Subsystem("nqn.2016-06.io.spdk:cnode1", ("192.0.2.12:4420", "192.0.2.13:4420"), ((1, 2), (2, 1))),
    Subsystem("nqn.2016-06.io.spdk:cnode2", (), ((2, 4),)),
)

MAP = Map(
    pool="rbd", group="g1", version=Version(34, 120),
    gateways=(
        Gateway("gw1", 1, enabled=False, deleting=True, availability=Availability.UNAVAILABLE, last_number=2,
                location="row-a"),
        Gateway("gw2", 2, availability=Availability.SUSPECT, instance=HOLDER, last_number=1,
                addresses=frozenset({"192.0.2.12:0/4093217", "192.0.2.12:0/1180322"}), suspected_at=Version(34, 119),
                leaving=True, location="row-b", subsystems=SUBSYSTEMS, digest="9b2d"),
    ),
    ana_groups=(
        AnaGroup(1, "gw1", Phase.FENCING, writers=frozenset({OLD}), osd_epoch=77, since=Version(34, 118)),
        AnaGroup(2, "gw2", Phase.DRAINING, holder=HOLDER, writers=frozenset({HOLDER}), osd_epoch=70,
                 since=Version(34, 120), target="gw1"),
        AnaGroup(3, "gw1", Phase.PROMOTING, incoming=HOLDER, writers=frozenset({HOLDER}), since=Version(34, 116),
                 moved_to=HOLDER),
    ),
    departed=(Departed(Instance("gw1", 1, "0b3f"), frozenset({"192.0.2.11:0/77"}), 71),
              Departed(OLD, frozenset({"192.0.2.11:0/31337"}))),
    timing=Timing(beacon_s=0.25, lease_s=1.5, failback_delay_s=30), lease_wait_s=3.25, number_floor=4,
    osd_epoch_floor=68, disasters=(Disaster("row-a"), Disaster("row-b", True)))

BEACON = Beacon(
    gateway="gw2", instance=HOLDER, sequence=4711, version=Version(34, 120), target=TargetState.SERVING, leaving=True,
    stuck="12 requests on bdev_0b3f made no progress for 2 s",
    addresses=frozenset({"192.0.2.12:0/4093217", "192.0.2.12:0/1180322"}),
    confirmations=(Confirmation(2, Version(34, 120), Outcome.DRAINED),
                   Confirmation(3, Version(34, 116), Outcome.OPTIMIZED),
                   Confirmation(4, Version(34, 115), Outcome.DECLINED)),
    reaped=(Instance("gw2", 0, "44aa"),), digest="9b2d", subsystems=SUBSYSTEMS, load=18250, connections=14,
    exposed=("subsystem nqn.2016-06.io.spdk:cnode1 allows any host",),
    notes=Notes("0.1.0", ("stored entry host_x is left out: not JSON",), ("namespace 3 of nqn.2016-06.io.spdk:cnode1",),
                2, ((1, 17000), (2, 1250)), 2.25, 0.004))

SHORT_BEACON = Beacon("gw2", None, 0)

ACK = wire.Ack(Version(34, 120), driver_age_s=0.042, want_full=("gw2",),
               refused={"gw2#1:ffff": "gateway id 'gw2' is in use by instance gw2#1:a7e0b2c4"}, stopping=True, gid=4213)

WAKE = Version(34, 121)

SOS = wire.Sos("gw2", HOLDER, gid=4213, version=Version(34, 120), target_dead=True, leaving=True, stuck=True, stopping=True)

RECORD = wire.GatewayRecord(Gateway("gw2", 2, enabled=False, deleting=True, instance=HOLDER, last_number=1,
                                    addresses=frozenset({"192.0.2.12:0/4093217"}), location="row-b"),
                            (Departed(Instance("gw2", 3, "5d"), frozenset({"192.0.2.12:0/11"})),))

GOLDEN = {
    "map": (MAP, wire.encode_map, wire.decode_map),
    "beacon": (BEACON, wire.encode_beacon, wire.decode_beacon),
    "beacon_short": (SHORT_BEACON, wire.encode_beacon, wire.decode_beacon),
    "ack": (ACK, wire.encode_ack, wire.decode_ack),
    "sos": (SOS, wire.encode_sos, wire.decode_sos),
    "wake": (WAKE, wire.encode_wake, wire.decode_wake),
    "gateway_record": (RECORD, lambda g: wire.encode_gateway_record(g).encode(), wire.decode_gateway_record),
}
