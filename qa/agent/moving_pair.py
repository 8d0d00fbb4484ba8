"""Two gateways under a real mgr, whose agents meet faults while a namespace moves from the one's ANA group to the other's.

Promises: `watched` says whether at any time both were optimized for the namespace: a target is when it shows the namespace
in a group for which its listener is optimized, which is read in one write.
"""
from __future__ import annotations

import json
import os
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import rados

from fault_file import VARIABLE, FaultFile
from gw_agent import moves
from gw_agent.config_store import ABOUT_CHANGES
from gw_agent.configuration import object_name
from target_sim.target_process import RpcClient
from testbed.cluster import POOL, Cluster
from testbed.gateway import Gateway, nvme_gw
from testbed.nvmeof_setup import GatewayApi, start_serving
from testbed.place import Place
from testbed.waiting import wait_until

HERE = Path(__file__).parent
OPTIONS = {"failback_delay_s": "1", "failback_doubling": "false"}
NSID, BYSTANDER, MAX_NAMESPACES, IMAGE_BYTES = 1, 2, 64, 4 << 20
MOST_ENTRIES = 1000
WELL_S = 90
LOOK_S = 0.01

Seen = Dict[str, Any]


@dataclass(frozen=True)
class FaultyPlace(Place):
    """What is started here has `faults`, a file, in its environment."""

    faults: str = ""

    @property
    def prefix(self) -> Tuple[str, ...]:
        path = os.pathsep.join(map(str, (HERE / "faulty_agents", HERE, *filter(None, [os.environ.get("PYTHONPATH")]))))
        return (*super().prefix, "env", f"PYTHONPATH={path}", f"{VARIABLE}={self.faults}")


class MovingPair:
    """A context manager. The first gateway owns ANA group 1, the second 2; namespace NSID is in group 1."""

    def __init__(self, cluster: Cluster, directory: Path, group: str, host: int) -> None:
        """`host`: last number of their loopback addresses."""
        self._cluster = cluster
        self._group = group
        self.nqn = f"nqn.2016-06.io.spdk:{group}"
        names = [f"{group}-{number}" for number in (1, 2)]
        self.faults = [FaultFile(directory / f"{name}.fault") for name in names]
        self.gateways = [Gateway(cluster, name, f"127.0.0.{host + number}", group, place=FaultyPlace(
            f"127.0.0.{host + number}", faults=str(faults.path)))
            for number, (name, faults) in enumerate(zip(names, self.faults), 1)]

    def __enter__(self) -> MovingPair:
        for name, value in OPTIONS.items():
            self._cluster.ceph("config", "set", "mgr", f"mgr/nvmeof_ha/{name}", value)
        self._client = rados.Rados(conffile=str(self._cluster.conf), name="client.admin")
        self._client.connect()
        self._ioctx = self._client.open_ioctx(POOL)
        try:
            start_serving(self.gateways, self.nqn, self._group, IMAGE_BYTES, {NSID: 1, BYSTANDER: 2}, MAX_NAMESPACES)
            self.wait_well()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        for gateway in self.gateways:
            gateway.stop()
            nvme_gw(self._cluster, "delete", gateway.name, POOL, self._group)
        for name in OPTIONS:
            self._cluster.ceph("config", "rm", "mgr", f"mgr/nvmeof_ha/{name}")
        self._ioctx.close()
        self._client.shutdown()

    def log_tails(self) -> str:
        return "\n".join(gateway.log_tails() for gateway in self.gateways)

    def api(self) -> GatewayApi:
        return GatewayApi(self.gateways[0])

    # -- what there is ------------------------------------------------------------------------------------------

    def wait_well(self) -> None:
        """Both gateways serve what they own, and no more."""
        def well() -> bool:
            group, = json.loads(nvme_gw(self._cluster, "status", POOL, self._group, "--format", "json"))["groups"]
            return (all(gateway["availability"] == "AVAILABLE" for gateway in group["gateways"])
                    and all(ana["phase"] == "ACTIVE" and ana["holder"].split("#")[0] == ana["owner"]
                            for ana in group["ana_groups"])
                    and [self.optimized_groups(gateway) for gateway in self.gateways] == [{1}, {2}])
        wait_until(well, WELL_S, f"both gateways of {self._group} to serve what they own", interval_s=0.1,
                   not_yet=(OSError, LookupError, ValueError))

    def stored(self) -> Dict[str, str]:
        with rados.ReadOpCtx() as operation:
            entries, _ = self._ioctx.get_omap_vals(operation, "", "", MOST_ENTRIES)
            self._ioctx.operate_read_op(operation, object_name(self._group))
            return {key: value.decode() for key, value in entries if key not in ABOUT_CHANGES}

    def place(self) -> Optional[int]:
        """The ANA group of the namespace, stored and in both targets; None: they differ, or it is moving."""
        stored = self.stored()
        if moves.move_key(self.nqn, NSID) in stored:
            return None
        groups = {json.loads(stored[moves.namespace_key(self.nqn, NSID)])["anagrpid"],
                  *(self._shown(gateway)[0] for gateway in self.gateways)}
        return groups.pop() if len(groups) == 1 else None

    def wait_place(self) -> int:
        """Once no move goes on."""
        return int(wait_until(self.place, WELL_S, "the namespace to be in one ANA group everywhere", interval_s=0.05,
                              not_yet=(OSError, LookupError)))

    def optimized_groups(self, gateway: Gateway) -> Set[int]:
        """For which a gateway's listener is."""
        return self._shown(gateway)[1]

    def make_optimized(self, gateway: Gateway, ana_group: int) -> None:
        """By hand, whatever the map says; its agent sets it right again."""
        with closing(RpcClient(gateway.rpc_socket)) as target:
            target.call("nvmf_subsystem_listener_set_ana_state", nqn=self.nqn, ana_state="optimized",
                        anagrpid=ana_group, listen_address={"trtype": "TCP", "adrfam": "IPv4", "traddr": gateway.address,
                                                            "trsvcid": str(gateway.listener_port)})

    def _shown(self, gateway: Gateway) -> Tuple[int, Set[int]]:
        """The namespace's ANA group, and those that are optimized. Raises OSError, LookupError."""
        with closing(RpcClient(gateway.rpc_socket)) as target:
            numbers = target.send_many([("nvmf_get_subsystems", {"nqn": self.nqn}),
                                        ("nvmf_subsystem_get_listeners", {"nqn": self.nqn})])
            (shown,), listeners = (target.answer(number)["result"] for number in numbers)
        group = next((n["anagrpid"] for n in shown["namespaces"] if n["nsid"] == NSID), 0)
        return group, {s["ana_group"] for listener in listeners for s in listener["ana_states"]
                       if s["ana_state"] == "optimized"}

    # -- never in two places ------------------------------------------------------------------------------------

    @contextmanager
    def watched(self) -> Iterator[List[str]]:
        """Yields what was seen that must not be."""
        found: List[str] = []
        end = threading.Event()
        watching = threading.Thread(target=self._watch, args=(end, found))
        watching.start()
        try:
            yield found
        finally:
            end.set()
            watching.join()

    def _watch(self, end: threading.Event, found: List[str]) -> None:
        """One target after the other. What was so at two looks was so at the look between."""
        last: List[bool] = [False, False]
        turn = 0
        while not end.wait(LOOK_S):
            try:
                group, optimized = self._shown(self.gateways[turn])
                serves = group in optimized
            except (OSError, LookupError):
                serves = False
            if serves and last == [True, True]:
                found.append(f"both gateways were optimized for the namespace; one of them has it in group {group}")
            last = [last[1], serves]
            turn = 1 - turn
