"""The keys of hosts in the running target: what it needs is put into its keyring, what it needs no more is taken away.

A target reads a key from a file each time a host authenticates, so the file stays while the key is wanted: in
`run_dir`/keys, mode 0600, best on a file system in memory as /run is; the warden removes what is left there when it
starts and when it ends. Promises: a key leaves its encrypted form for that file only; it is in no request, command line,
log or error. A key that cannot be used keeps its host out, or leaves a host that is allowed already the key before it:
what the target uses stays in the keyring.

A target takes another key for DH-HMAC-CHAP while the host is connected, but for TLS only for a host that it does not allow.
So such a host is removed, which ends its connections here, and allowed again in the next request, once the new key is in
the keyring; if the target refuses it then, the host is allowed with the key before it, and that key is not tried again.
"""
from __future__ import annotations

import os
from typing import Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from gw_agent import configuration as stored
from gw_agent import target_state
from gw_agent.configuration import Configuration, Subsystem
from gw_agent.group_key import GroupKey, GroupKeyError
from gw_agent.host_keys import PREFIX, HostKeys, KeyNames, SealedKey, keyring_name
from gw_agent.run_directory import KEYS
from gw_agent.settings import GatewaySettings
from gw_agent.spdk_rpc import SpdkRpc
from gw_agent.target_state import FoundSubsystem
from gw_agent.target_steps import Step, StepSender


class Replaced(NamedTuple):
    """A host that is removed and allowed again, and its keys before that."""

    nqn: str
    host: str
    found: FoundSubsystem
    before: KeyNames

    @property
    def subject(self) -> str:
        return stored.entry_key("host", self.nqn, self.host)


class KeyRing:
    """For one reconciliation: `provide`, then `replace`, then `host_steps`, then `restore` and `forget`."""

    def __init__(self, rpc: SpdkRpc, steps: StepSender, wanted: Configuration, settings: GatewaySettings,
                 refused: Set[str]) -> None:
        """`refused`: names of TLS keys that this target did not take in place of another one."""
        self._rpc = rpc
        self._steps = steps
        self._refused = refused
        self._group_key = GroupKey(settings.encryption_key)
        self._directory = os.path.join(settings.run_dir, KEYS)
        self._sealed: Dict[str, SealedKey] = {}
        self._names = {(nqn, host): self._named(subsystem, host, keys) for nqn, subsystem in wanted.subsystems.items()
                       for host, keys in subsystem.host_keys.items()}
        self._there: Set[str] = set()
        self._unusable: Dict[str, str] = dict.fromkeys(refused, "the target refused it; its log says why")

    async def provide(self) -> None:
        """The wanted keys are in the target's keyring, or known to be unusable. Raises RpcFailure."""
        if not self._sealed and not os.path.isdir(self._directory):
            return
        shown = await self._rpc.call("keyring_get_keys")
        self._there = {key["name"] for key in shown if key["name"].startswith(PREFIX) and not key.get("removed")}
        new = [name for name in sorted(self._sealed) if self._written(name) and name not in self._there]
        await self._steps.send([Step(f"key {name}", "put it into the target's keyring",
                                     ("keyring_file_add_key", {"name": name, "path": self._path(name)}),
                                     lambda name=name: self._there.add(name)) for name in new])
        for name in new:
            if name not in self._there:
                self._unusable[name] = self._steps.problem_of.pop(f"key {name}")

    async def replace(self, pairs: Iterable[Tuple[Subsystem, FoundSubsystem]]) -> List[Replaced]:
        """Removes the hosts that are to have another TLS key; `host_steps` allows them again. Raises RpcUnreachable."""
        replaced = [Replaced(subsystem.nqn, host, found, found.keys.get(host, KeyNames()))
                    for subsystem, found in pairs for host in sorted(subsystem.hosts & found.hosts)]
        replaced = [one for one in replaced if one.before.psk != self._wanted(one.nqn, one.host).psk
                    and self._problem(self._wanted(one.nqn, one.host)) is None]
        await self._steps.send([Step(one.subject, f"remove host {one.host} from {one.nqn} for another TLS key",
                                     target_state.remove_host(one.nqn, one.host),
                                     lambda one=one: one.found.forbid(one.host)) for one in replaced])
        return [one for one in replaced if one.host not in one.found.hosts]

    async def restore(self, replaced: Iterable[Replaced]) -> None:
        """Allows those that could not be allowed again, with the keys that they had. Raises RpcUnreachable."""
        left = [one for one in replaced if one.host not in one.found.hosts]
        self._refused.update(self._wanted(one.nqn, one.host).psk for one in left)
        await self._steps.send([Step(f"{one.subject} as before", f"allow host {one.host} in {one.nqn} as before",
                                     target_state.add_host(one.nqn, one.host, one.before),
                                     lambda one=one: one.found.allow(one.host, one.before)) for one in left])

    def host_steps(self, subsystem: Subsystem, found: FoundSubsystem) -> List[Step]:
        """Hosts that are missing, and changed keys of those that are there, which stay connected."""
        steps = []
        for host in sorted(subsystem.hosts):
            names, there = self._wanted(subsystem.nqn, host), found.keys.get(host, KeyNames())
            if host in found.hosts and names == there:
                continue
            subject = stored.entry_key("host", subsystem.nqn, host)
            reason = self._problem(names)
            if reason is not None:
                self._steps.problem_of[subject] = f"cannot use a key of host {host} in {subsystem.nqn}: {reason}"
            elif host in found.hosts and names.psk == there.psk:
                steps.append(Step(subject, f"change the keys of host {host} in {subsystem.nqn}",
                                  target_state.set_keys(subsystem.nqn, host, names),
                                  lambda host=host, names=names: found.keys.__setitem__(host, names)))
            elif host not in found.hosts:
                steps.append(Step(subject, f"allow host {host} in {subsystem.nqn}",
                                  target_state.add_host(subsystem.nqn, host, names),
                                  lambda host=host, names=names: found.allow(host, names)))
        return steps

    async def forget(self, subsystems: Iterable[FoundSubsystem]) -> None:
        """What is not wanted, and not used, leaves the keyring, then its file goes. Raises RpcUnreachable."""
        kept = {name for found in subsystems for names in found.keys.values() for name in names.parameters.values()}
        kept.update(self._sealed)
        if not self._there and not os.path.isdir(self._directory):
            return
        await self._steps.send([Step(f"key {name}", "take an old key out of the target's keyring",
                                     ("keyring_file_remove_key", {"name": name}),
                                     lambda name=name: self._there.discard(name))
                                for name in sorted(self._there - kept)])
        if os.path.isdir(self._directory):
            for name in set(os.listdir(self._directory)) - kept - self._there:
                os.unlink(self._path(name))

    def _named(self, subsystem: Subsystem, host: str, keys: HostKeys) -> KeyNames:
        owner = f"{subsystem.nqn}\n{host}"
        ctrlr = subsystem.dhchap_key if keys.dhchap is not None else None   # a target takes it with a host's key only
        return KeyNames(self._name("dhchap", owner, keys.dhchap), self._name("dhchap_ctrlr", subsystem.nqn, ctrlr),
                        self._name("psk", owner, keys.psk))

    def _name(self, kind: str, owner: str, key: Optional[SealedKey]) -> str:
        if key is None:
            return ""
        name = keyring_name(kind, owner, key)
        self._sealed[name] = key
        return name

    def _wanted(self, nqn: str, host: str) -> KeyNames:
        return self._names.get((nqn, host), KeyNames())

    def _problem(self, names: KeyNames) -> Optional[str]:
        return next((self._unusable[name] for name in names.parameters.values() if name in self._unusable), None)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _written(self, name: str) -> bool:
        """True when the key's file is there."""
        path = self._path(name)
        if os.path.exists(path):
            return True
        try:
            text = self._group_key.open(self._sealed[name])
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            new = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(new, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(path + ".new", path)
        except GroupKeyError as error:
            self._unusable[name] = str(error)
        except OSError as error:
            self._unusable[name] = f"{path} cannot be written: {error.strerror}"
        return name not in self._unusable
