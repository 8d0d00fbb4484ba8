"""The NVM subsystem model: namespaces, listeners with their ANA states, hosts, controllers, and pausing.

Pausing is what makes the order of RPCs observable. A state change of a subsystem holds its turn (first come,
first served), holds back admin commands and connects, and, if it names a namespace, also holds back that
namespace's new I/O and waits for its I/O in flight. A change that names none (nsid 0), such as an ANA state,
neither waits for I/O nor stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from typing import TYPE_CHECKING, AsyncIterator, Callable, NamedTuple, Optional

from .bdev import Bdev

if TYPE_CHECKING:
    from .controller import Controller
    from .keyring import Key
    from .nvme_format import Command

DISCOVERY_NQN = "nqn.2014-08.org.nvmexpress.discovery"
OPTIMIZED, NON_OPTIMIZED, INACCESSIBLE = 1, 2, 3
ANA_NAMES = {OPTIMIZED: "optimized", NON_OPTIMIZED: "non_optimized", INACCESSIBLE: "inaccessible"}
ANA_STATES = {name: state for state, name in ANA_NAMES.items()}
MIN_CNTLID, MAX_CNTLID = 1, 0xFFEF
DEFAULT_NAMESPACES = 32
_UUID_NQN = re.compile(r"nqn\.2014-08\.org\.nvmexpress:uuid:[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DOMAIN_NQN = re.compile(
    r"nqn\.[0-9]{4}-[0-9]{2}\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?)*:.+"
)


class InvalidChange(Exception):
    """A change that the subsystem cannot make (the real target's negative return code)."""


class SubsystemGone(Exception):
    """The subsystem was deleted while a change waited for its turn."""


def is_valid_nqn(nqn: str) -> bool:
    if not 11 <= len(nqn.encode()) <= 223:
        return False
    return nqn == DISCOVERY_NQN or bool(_UUID_NQN.fullmatch(nqn) or _DOMAIN_NQN.fullmatch(nqn))


class Address(NamedTuple):
    """Where a listener listens. `trtype` is upper case, `adrfam` as displayed."""

    trtype: str
    adrfam: str
    traddr: str
    trsvcid: str

    def as_json(self) -> dict:
        return self._asdict()


class Referral(NamedTuple):
    """An entry of the discovery log for what is elsewhere."""

    address: Address
    nqn: str
    secure_channel: bool


class HostKeys(NamedTuple):
    """Keys of one host in one subsystem."""

    dhchap: Optional[Key] = None
    dhchap_ctrlr: Optional[Key] = None
    psk: Optional[Key] = None

    def as_json(self, with_psk: bool) -> dict:
        """Their names."""
        named = {"dhchap_key": self.dhchap, "dhchap_ctrlr_key": self.dhchap_ctrlr, "psk": self.psk if with_psk else None}
        return {parameter: key.name for parameter, key in named.items() if key is not None}


class Namespace:
    def __init__(
        self,
        nsid: int,
        bdev: Bdev,
        identity: uuid.UUID,
        nguid: bytes,
        eui64: bytes,
        anagrpid: int,
        always_visible: bool,
    ) -> None:
        self.nsid = nsid
        self.bdev = bdev
        self.uuid = identity
        self.nguid = nguid
        self.eui64 = eui64
        self.anagrpid = anagrpid
        self.always_visible = always_visible
        self.hosts: set[str] = set()
        self.in_flight = 0
        self.paused = False
        self._idle: Optional[asyncio.Future] = None

    def is_visible(self, hostnqn: str) -> bool:
        return self.always_visible or hostnqn in self.hosts

    def io_done(self) -> None:
        self.in_flight -= 1
        if self.in_flight == 0 and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    async def wait_idle(self) -> None:
        if self.in_flight:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle


class Listener:
    def __init__(self, address: Address, groups: int, ana_state: int, secure_channel: bool) -> None:
        self.address = address
        self.port_id = 0
        self.ana_states = [ana_state] * groups
        self.secure_channel = secure_channel

    def ana_state(self, anagrpid: int) -> int:
        return self.ana_states[anagrpid - 1]


class Subsystem:
    def __init__(
        self,
        nqn: str,
        *,
        serial_number: str = "0" * 20,
        model_number: str = "SPDK bdev Controller",
        max_namespaces: int = DEFAULT_NAMESPACES,
        allow_any_host: bool = False,
        ana_reporting: bool = False,
        min_cntlid: int = MIN_CNTLID,
        max_cntlid: int = MAX_CNTLID,
        dmrsl: int = 2097152,
        wzsl: int = 12,
        passthrough: bool = False,
    ) -> None:
        self.nqn = nqn
        self.serial_number = serial_number
        self.model_number = model_number
        self.max_namespaces = max_namespaces or DEFAULT_NAMESPACES
        self.allow_any_host = allow_any_host
        self.ana_reporting = ana_reporting
        self.min_cntlid, self.max_cntlid = min_cntlid, max_cntlid
        self.dmrsl, self.wzsl = dmrsl, wzsl
        self.passthrough = passthrough
        self.hosts: list[str] = []
        self._keys_by_host: dict[str, HostKeys] = {}
        self.listeners: list[Listener] = []
        self.namespaces: dict[int, Namespace] = {}
        self.controllers: dict[int, Controller] = {}
        self.paused = False
        self.gone = False
        self._next_cntlid = min_cntlid
        self._turn = asyncio.Lock()
        self._held: list[tuple[Callable[[Command], None], Command]] = []

    @property
    def is_discovery(self) -> bool:
        return self.nqn == DISCOVERY_NQN

    def hold(self, execute: Callable[[Command], None], command: Command) -> None:
        """Executes the command when the state change under way is over, unless its connection has gone by then:
        its host may have sent it again elsewhere.
        """
        self._held.append((execute, command))

    @contextlib.asynccontextmanager
    async def state_change(self, nsid: int = 0) -> AsyncIterator[None]:
        """One pause: waits for its turn and for what it has to wait for. Raises SubsystemGone if the subsystem
        went away before its turn.
        """
        async with self._turn:
            if self.gone:
                raise SubsystemGone(self.nqn)
            self.paused = True
            namespace = self.namespaces.get(nsid)
            try:
                await asyncio.sleep(0)
                if namespace is not None:
                    namespace.paused = True
                    await namespace.wait_idle()
                yield
            finally:
                if namespace is not None:
                    namespace.paused = False
                self.paused = False
                held, self._held = self._held, []
                for execute, command in held:
                    if command.connection.is_open:
                        execute(command)
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """Disconnects every host and waits until no I/O of theirs is left. The subsystem cannot be used afterwards."""
        async with self.state_change():
            self.gone = True
            await self.disconnect(list(self.controllers.values()))
            for namespace in self.namespaces.values():
                await namespace.wait_idle()

    async def disconnect(self, controllers: list[Controller]) -> None:
        """Closes their connections and waits until the last one is closed."""
        connections = [connection for controller in controllers for connection in controller.connections().values()]
        for controller in controllers:
            controller.disconnect()
        for connection in connections:
            await connection.wait_closed()

    def find_listener(self, address: Address) -> Optional[Listener]:
        return next((listener for listener in self.listeners if listener.address == address), None)

    def add_listener(self, listener: Listener) -> None:
        """The newest is listed first; its id is the lowest free one."""
        used = {other.port_id for other in self.listeners}
        listener.port_id = next(number for number in range(len(used) + 1) if number not in used)
        self.listeners.insert(0, listener)

    def allows_host(self, hostnqn: str) -> bool:
        return self.allow_any_host or hostnqn in self.hosts

    def keys_of(self, hostnqn: str) -> HostKeys:
        return self._keys_by_host.get(hostnqn, HostKeys())

    def set_host_keys(self, hostnqn: str, keys: HostKeys) -> None:
        for key in keys:
            if key is not None:
                key.users += 1
        for key in self._keys_by_host.pop(hostnqn, HostKeys()):
            if key is not None:
                key.users -= 1
        self._keys_by_host[hostnqn] = keys

    def groups_in_use(self) -> dict[int, list[int]]:
        """ANA group id -> its nsids, both ascending."""
        groups: dict[int, list[int]] = {}
        for nsid in sorted(self.namespaces):
            groups.setdefault(self.namespaces[nsid].anagrpid, []).append(nsid)
        return dict(sorted(groups.items()))

    def set_ana_state(self, address: Address, state: int, anagrpid: int) -> None:
        """anagrpid 0: every group of the listener. Tells the controllers connected there. Raises InvalidChange."""
        listener = self.find_listener(address)
        if not self.ana_reporting or anagrpid > self.max_namespaces or listener is None:
            raise InvalidChange
        if anagrpid and listener.ana_state(anagrpid) == state:
            return
        if anagrpid:
            listener.ana_states[anagrpid - 1] = state
        else:
            listener.ana_states = [state] * self.max_namespaces
        for controller in self.controllers.values():
            if controller.listener is listener:
                controller.events.ana_changed()

    def add_namespace(
        self,
        bdev: Bdev,
        nsid: int,
        identity: Optional[uuid.UUID],
        nguid: Optional[bytes],
        eui64: Optional[bytes],
        anagrpid: int,
        always_visible: bool,
    ) -> Namespace:
        """nsid 0: the lowest free one; anagrpid 0: the nsid. Raises InvalidChange."""
        if nsid == 0:
            nsid = next((free for free in range(1, self.max_namespaces + 1) if free not in self.namespaces), 0)
        if not 1 <= nsid <= self.max_namespaces or nsid in self.namespaces:
            raise InvalidChange
        anagrpid = anagrpid or nsid
        if anagrpid > self.max_namespaces or bdev.is_claimed:
            raise InvalidChange
        namespace = Namespace(
            nsid, bdev, identity or bdev.uuid, nguid or bdev.uuid.bytes, eui64 or bytes(8), anagrpid, always_visible
        )
        self.namespaces[nsid] = namespace
        bdev.claim(self, namespace)
        self.namespace_changed(namespace)
        return namespace

    def remove_namespace(self, nsid: int) -> None:
        """Raises InvalidChange."""
        namespace = self.namespaces.pop(nsid, None)
        if namespace is None:
            raise InvalidChange
        namespace.bdev.release()
        self.namespace_changed(namespace)

    def set_namespace_group(self, nsid: int, anagrpid: int) -> None:
        """Raises InvalidChange."""
        namespace = self.namespaces.get(nsid)
        if namespace is None or not 1 <= anagrpid <= self.max_namespaces:
            raise InvalidChange
        namespace.anagrpid = anagrpid
        self.namespace_changed(namespace)

    def set_namespace_host(self, nsid: int, hostnqn: str, visible: bool) -> None:
        """Raises InvalidChange: no such namespace, or it is visible to every host anyway."""
        namespace = self.namespaces.get(nsid)
        if namespace is None or namespace.always_visible or not is_valid_nqn(hostnqn):
            raise InvalidChange
        if visible:
            namespace.hosts.add(hostnqn)
        else:
            namespace.hosts.discard(hostnqn)
        for controller in self.controllers.values():
            if controller.hostnqn == hostnqn:
                controller.events.namespace_changed(nsid)

    def namespace_changed(self, namespace: Namespace) -> None:
        for controller in self.controllers.values():
            if namespace.is_visible(controller.hostnqn):
                controller.events.namespace_changed(namespace.nsid)

    def new_cntlid(self) -> Optional[int]:
        """The next controller id of the subsystem's range, None when all are in use."""
        for _ in range(self.max_cntlid - self.min_cntlid + 1):
            cntlid = self._next_cntlid
            self._next_cntlid = cntlid + 1 if cntlid < self.max_cntlid else self.min_cntlid
            if cntlid not in self.controllers:
                return cntlid
        return None

    def as_json(self) -> dict:
        shown = {
            "nqn": self.nqn,
            "subtype": "Discovery" if self.is_discovery else "NVMe",
            "listen_addresses": [listener.address.as_json() for listener in self.listeners],
            "allow_any_host": self.allow_any_host,
            "hosts": [{"nqn": host, **self.keys_of(host).as_json(with_psk=False)} for host in self.hosts],
        }
        if not self.is_discovery:
            shown.update(
                serial_number=self.serial_number,
                model_number=self.model_number,
                max_namespaces=self.max_namespaces,
                passthrough=self.passthrough,
                min_cntlid=self.min_cntlid,
                max_cntlid=self.max_cntlid,
                dmrsl=self.dmrsl,
                wzsl=self.wzsl,
                namespaces=[self._namespace_json(self.namespaces[nsid]) for nsid in sorted(self.namespaces)],
            )
        return shown

    def _namespace_json(self, namespace: Namespace) -> dict:
        shown = {"nsid": namespace.nsid, "bdev_name": namespace.bdev.name, "name": namespace.bdev.name}
        if any(namespace.nguid):
            shown["nguid"] = namespace.nguid.hex().upper()
        if any(namespace.eui64):
            shown["eui64"] = namespace.eui64.hex().upper()
        shown["uuid"] = str(namespace.uuid)
        if self.ana_reporting:
            shown["anagrpid"] = namespace.anagrpid
        return shown
