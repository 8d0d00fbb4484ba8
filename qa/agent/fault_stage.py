"""What an agent and its target leave behind, looked at as a whole, and put back as it was for the next fault.

`Stage.look` shows the stored configuration (keys decrypted, because each encryption of one key differs), the images and
the trash, the target, its keyring and the key files. Promises: two looks are equal when nothing that anybody could
notice differs (a limit of 0 is none). Left out: the version of the configuration, which only grows, and what names of
keys are made from.
"""
from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, Dict, FrozenSet, List

import rados
import rbd

from faulty_agent import Place
from gw_agent import target_state
from gw_agent.config_store import ABOUT_CHANGES, NOTIFY_TIMEOUT_MS
from gw_agent.configuration import VERSION_KEY, object_name
from gw_agent.group_key import GroupKey
from gw_agent.host_keys import SealedKey
from gw_agent.nqn import DISCOVERY_NQN
from gw_agent.settings import Settings
from running_target import TargetProcess, with_rpc
from standalone_gateway import StandaloneGateway
from testbed.waiting import wait_until

POOL = "rbd"
MOST_ENTRIES = 1000
KEY_NAME = re.compile(r"(nvmeof_ha\.\w+)\.[0-9a-f]{32}")
WAIT_S = 60

Look = Dict[str, Any]


class Stage:
    """One gateway group with one gateway and `images` of its own: the names of all that it may use.
    `bystander`: one that its target always has open."""

    def __init__(self, ceph: rados.Rados, ceph_conf: str, settings: Settings, settings_path: Path,
                 target: TargetProcess, images: FrozenSet[str], bystander: str) -> None:
        self.target = target
        self.addresses: FrozenSet[str] = frozenset()
        self._ceph = ceph
        self._ceph_conf = ceph_conf
        self._settings = settings
        self._settings_path = str(settings_path)
        self._images = images
        self._bystander = bystander
        self._oid = object_name(settings.gateway.group)
        self._ioctx = ceph.open_ioctx(POOL)
        self._omap: Dict[str, str] = {}
        self._sizes: Dict[str, int] = {}
        self.before: Look = {}

    @property
    def place(self) -> Place:
        return Place(self._ceph_conf, self._settings_path, self.target.path, self.addresses)

    def agent(self) -> StandaloneGateway:
        """A new one, not started yet."""
        gateway = StandaloneGateway(self._ceph, self._settings, self.target.path)
        gateway.addresses = self.addresses
        return gateway

    # What there is.

    def look(self) -> Look:
        sizes = self.sizes()
        return {"stored": {key: self._readable(value) for key, value in self._stored().items()
                           if key not in ABOUT_CHANGES},
                "images": sizes, "trash": sorted(entry["name"] for entry in self._trash()),
                "key files": sorted(self._unnamed(name) for name in self._key_files()),
                **with_rpc(self.target.path, self._look_at_target)}

    def sizes(self) -> Dict[str, int]:
        """Of the images, by name; not of one that goes to the trash meanwhile."""
        found = {}
        for name in self._images & set(rbd.RBD().list(self._ioctx)):
            try:
                with rbd.Image(self._ioctx, name, read_only=True) as image:
                    found[name] = image.size()
            except rbd.ImageNotFound:
                pass
        return found

    def version(self) -> int:
        return int(self._stored()[VERSION_KEY])

    async def _look_at_target(self, rpc: Any) -> Look:
        keys, discovery, referrals = await rpc.results([
            ("keyring_get_keys", None), ("nvmf_get_subsystems", {"nqn": DISCOVERY_NQN}),
            ("nvmf_discovery_get_referrals", None)])
        target = asdict(await target_state.read(rpc))
        return {"target": json.loads(self._unnamed(json.dumps(target, default=sorted, sort_keys=True))),
                "keyring": sorted(self._unnamed(key["name"]) for key in keys if not key.get("removed")),
                "discovery": sorted(map(json.dumps, discovery[0]["listen_addresses"])),
                "referrals": sorted(map(json.dumps, referrals))}

    def _stored(self) -> Dict[str, str]:
        with rados.ReadOpCtx() as operation:
            entries, _ = self._ioctx.get_omap_vals(operation, "", "", MOST_ENTRIES)
            self._ioctx.operate_read_op(operation, self._oid)
            return {key: value.decode() for key, value in entries}

    def _readable(self, text: str) -> str:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        if isinstance(value, dict):
            value = {name: found for name, found in value.items()
                     if not (name.endswith("_per_second") and found == "0")}
            for field in ("dhchap_key", "psk"):
                if field in value:
                    value[field] = GroupKey(self._settings.gateway.encryption_key).open(SealedKey(value[field]))
        return json.dumps(value, sort_keys=True)

    def _key_files(self) -> List[str]:
        try:
            return os.listdir(os.path.join(self._settings.gateway.run_dir, "keys"))
        except FileNotFoundError:
            return []

    @staticmethod
    def _unnamed(text: str) -> str:
        return KEY_NAME.sub(r"\1", text)

    def _trash(self) -> List[Dict[str, Any]]:
        return [entry for entry in rbd.RBD().trash_list(self._ioctx) if entry["name"] in self._images]

    # As it was.

    def know_target(self) -> None:
        """The RADOS addresses of the target, as the gateway map would name them."""
        with rbd.Image(self._ioctx, self._bystander, read_only=True) as image:
            self.addresses = frozenset(watcher["addr"] for watcher in image.watchers_list())

    def remember(self) -> None:
        """To come back to this."""
        self.know_target()
        self._omap, self._sizes, self.before = self._stored(), self.sizes(), self.look()

    def target_again(self) -> None:
        """A new one in place of one that was killed, whose clients are fenced as the mgr would."""
        for address in self.addresses:
            code, _, said = self._ceph.mon_command(json.dumps({
                "prefix": "osd blocklist", "blocklistop": "add", "addr": address}), b"")
            assert code == 0, said
        self.target.stop()
        self.target.start()

    def reset(self) -> None:
        """As remembered."""
        for entry in self._trash():
            wait_until(lambda entry=entry: self._restored(entry), WAIT_S, f"image {entry['name']} to be restored")
        with rados.WriteOpCtx() as operation:
            version = str(self.version() + 1)
            self._ioctx.remove_omap_keys(operation, tuple(self._stored().keys() - self._omap.keys()))
            values = {**self._omap, VERSION_KEY: version}
            self._ioctx.set_omap(operation, tuple(values), tuple(values.values()))
            self._ioctx.operate_write_op(operation, self._oid)
        with self.agent():
            pass
        for name in self.sizes().keys() - self._sizes.keys():
            wait_until(lambda name=name: self._removed(name), WAIT_S, f"nobody to have image {name} open")
        for name, size in self.sizes().items():
            if size != self._sizes[name]:
                with rbd.Image(self._ioctx, name) as image:
                    image.resize(self._sizes[name])
        self.know_target()

    def close(self) -> None:
        """Notifications of this process still wait for watchers that died, and must not outlive its RADOS client. They
        end before this one does."""
        try:
            self._ioctx.notify(self._oid, timeout_ms=2 * NOTIFY_TIMEOUT_MS)
        except rados.TimedOut:
            pass
        self._ioctx.close()

    def _restored(self, entry: Dict[str, Any]) -> bool:
        """False: it is still on its way to the trash."""
        try:
            rbd.RBD().trash_restore(self._ioctx, entry["id"], entry["name"])
        except rbd.ImageBusy:
            return False
        return True

    def _removed(self, name: str) -> bool:
        try:
            rbd.RBD().remove(self._ioctx, name)
        except rbd.ImageBusy:
            return False
        return True
