"""Changes of the configuration that are about keys of hosts and subsystems, each checked against the stored version.

Pure, as `changes.py` says. The keys that come here are encrypted already; `sealed` makes them so, and refuses what is
none. What is stored has the fields that existing gateways read.
"""
from __future__ import annotations

import errno
import json
from typing import Any, Callable, Dict, Optional

from gw_agent import changes, key_formats
from gw_agent import configuration as stored
from gw_agent import nqn as names
from gw_agent.changes import Refused
from gw_agent.config_store import Change, Stored
from gw_agent.configuration import Subsystem
from gw_agent.group_key import GroupKey, GroupKeyError
from gw_agent.host_keys import HostKeys, SealedKey


def sealed(group_key: GroupKey, field: str, key: str) -> Optional[SealedKey]:
    """`field`: dhchap_key or psk. None for an empty key; raises Refused without repeating it."""
    if not key:
        return None
    check: Callable[[str], Optional[str]] = key_formats.check_psk if field == "psk" else key_formats.check_dhchap
    problem = check(key)
    if problem is not None:
        raise Refused(errno.EINVAL, f"{field}: {problem}")
    try:
        return group_key.seal(key)
    except GroupKeyError as error:
        raise Refused(errno.ENOKEY, str(error)) from None


def refuse_encrypted(request: Any, *fields: str) -> None:
    """Only gateways encrypt, with a key that clients do not have."""
    for field in fields:
        if getattr(request, field):
            raise Refused(errno.EINVAL, f"{field} is set, but the gateway takes keys as they are and encrypts them "
                          "itself; send the key without it")


def add_subsystem(change: Change, nqn: str, key: Optional[SealedKey]) -> Change:
    """`change`: from `changes.add_subsystem`."""
    entry = stored.entry_key("subsystem", nqn)
    return Change({entry: _with(change.sets[entry], {"dhchap_key": key})})


def add_host(now: Stored, nqn: str, host: str, keys: HostKeys) -> Change:
    found = changes.subsystem(now, nqn)
    change = changes.add_host(now, nqn, host)
    if host == names.ANY_HOST:
        _check_any_host(found, keys)
    elif found.dhchap_key is not None and keys.dhchap is None:
        raise Refused(errno.ENOKEY, f"subsystem {nqn} proves to hosts who it is, which needs a key of each host; give "
                      "dhchap_key too")
    entry = stored.entry_key("host", nqn, host)
    return Change({entry: _with(change.sets[entry], {"dhchap_key": keys.dhchap, "psk": keys.psk})})


def change_host_key(now: Stored, nqn: str, host: str, key: Optional[SealedKey]) -> Change:
    """None takes its key for DH-HMAC-CHAP away; the one for TLS stays as it is."""
    found = changes.subsystem(now, nqn)
    if host not in found.hosts:
        raise Refused(errno.ENOENT, f"host {host} is not allowed in subsystem {nqn}, so it has no key to change; add it "
                      "with the key")
    if key is None and found.dhchap_key is not None:
        raise Refused(errno.ENOKEY, f"subsystem {nqn} proves to hosts who it is, which needs a key of each host; take "
                      "the subsystem's key away first")
    entry = stored.entry_key("host", nqn, host)
    return Change({entry: _with(now.omap[entry], {"dhchap_key": key})})


def change_subsystem_key(now: Stored, nqn: str, key: Optional[SealedKey]) -> Change:
    """None: the subsystem does not prove to hosts any more who it is."""
    found = changes.subsystem(now, nqn)
    without = [host for host in sorted(found.hosts) if found.keys_of(host).dhchap is None]
    if key is not None and (without or found.allow_any_host):
        who = ", ".join(without[:3]) + (f" and {len(without) - 3} more" if len(without) > 3 else "") or "any host"
        raise Refused(errno.ENOKEY, f"subsystem {nqn} can prove who it is only to hosts that have a key of their own, "
                      f"and {who} may connect without; give them keys, or remove them, first")
    entry = stored.entry_key("subsystem", nqn)
    return Change({entry: _with(now.omap[entry], {"dhchap_key": key})})


def _check_any_host(found: Subsystem, keys: HostKeys) -> None:
    if keys.dhchap is not None or keys.psk is not None:
        raise Refused(errno.EINVAL, "a key belongs to one host; give the NQN of that host instead of *")
    if found.dhchap_key is not None or any(listener.secure for listener in found.listeners):
        raise Refused(errno.EINVAL, f"subsystem {found.nqn} has a key, or a listener with TLS, which need a key of each "
                      "host; add the hosts one by one")


_ENCRYPTED = {"dhchap_key": "key_encrypted", "psk": "psk_encrypted"}


def _with(text: str, keys: Dict[str, Optional[SealedKey]]) -> str:
    """A stored value with these keys in place of those that it has."""
    value = json.loads(text)
    for field, key in keys.items():
        value.pop(field, None)
        value.pop(_ENCRYPTED[field], None)
        if key is not None:
            value.update({field: key.text, _ENCRYPTED[field]: key.encrypted})
    return json.dumps(value)
