"""Does this host have what a gateway's settings name?  Looks, and changes nothing; asks no cluster.

Promises: every check that can be made is made, whatever the others find; one whose options could not be read is left
out, because that is a problem already. Looks with the eyes of who runs it: a file that only the gateway's user may read
is a problem for anybody else. Does not promise: that all is still there when the gateway starts.
"""
from __future__ import annotations

import configparser
import errno
import os
import socket
import stat
from typing import Any, Callable, Iterator, List, Mapping, Optional, Tuple

import rados

from gw_agent import certificate_checks
from gw_agent.ceph_client import caps_text
from gw_agent.group_key import GroupKey, GroupKeyError
from gw_agent.settings import CephSettings, Problem

Values = Mapping[str, Mapping[str, Any]]
LEAST_PORT_FOR_ALL = 1024
MEMINFO = "/proc/meminfo"


def look(values: Values) -> Iterator[Problem]:
    """`values`: what could be read, by section and option."""
    for needed, check in _CHECKS:
        names = [name.split(".") for name in needed]
        if all(option in values[section] for section, option in names):
            yield from check(*(values[section][option] for section, option in names))
    if values["ceph"].keys() == CephSettings.__dataclass_fields__.keys():
        yield from _ceph_user(CephSettings(**values["ceph"]))


def warden_runs(run_dir: str) -> bool:
    """The gateway of this run directory runs, as far as may be seen."""
    try:
        with open(os.path.join(run_dir, "warden.lock"), encoding="utf-8") as file:
            pid = int(file.read())
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"warden" in file.read()
    except (OSError, ValueError):
        return False


def _address(addr: str, port: int, run_dir: str) -> Iterator[Problem]:
    family = socket.AF_INET6 if ":" in addr else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((addr, 0))
        except OSError:
            yield Problem("gateway", "addr", f"option addr in section [gateway] is {addr}, which is no address of this "
                          "host", "choose one of those that `ip -brief address` shows, or 127.0.0.1")
            return
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((addr, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and not warden_runs(run_dir):
                yield Problem("gateway", "port", f"port {port} of {addr} is in use by another program (`ss -ltnp` "
                              "shows which)", "choose another port, or 0 for any free one")
            elif error.errno == errno.EACCES:
                yield Problem("gateway", "port", f"port {port} may not be used by this user",
                              f"choose one from {LEAST_PORT_FOR_ALL} on, or run the gateway as root")


def _ports(port: int, discovery_port: int) -> Iterator[Problem]:
    if port and port == discovery_port:
        yield Problem("discovery", "port", f"option port is {port} in section [discovery] and in section [gateway], "
                      "which cannot be where addr is a listener's address too", "choose two ports", warning=True)


def _encryption_key(path: Optional[str]) -> Iterator[Problem]:
    if path is not None:
        try:
            GroupKey(path).seal("")
        except GroupKeyError as error:
            yield certificate_checks.refused("gateway", "encryption_key", error, "correct it")


def _run_dir(path: str) -> Iterator[Problem]:
    try:
        found: Optional[os.stat_result] = os.stat(path)
    except OSError:
        found = None
    if found is None:
        yield from _writable(_existing_parent(path), "gateway", "run_dir", f"{path} cannot be made")
    elif not stat.S_ISDIR(found.st_mode):
        yield Problem("gateway", "run_dir", f"run_dir {path} is no directory", "remove it, or choose another run_dir")
    elif found.st_mode & stat.S_IWOTH:
        yield Problem("gateway", "run_dir", f"run_dir {path} can be written by every user, who could put files of "
                      "their own there", f"do: chmod o-w {path}, or choose another run_dir")
    else:
        yield from _writable(path, "gateway", "run_dir", "nothing can be made there")


def _existing_parent(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _writable(directory: str, section: str, option: str, else_text: str) -> Iterator[Problem]:
    if not os.path.isdir(directory):
        yield Problem(section, option, f"{directory} is no directory, so {else_text}", "correct the path")
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield Problem(section, option, f"directory {directory} may not be written by this user, so {else_text}",
                      "correct the path or the directory's mode, or run as the gateway's user")


def _appended_file(option: str) -> Callable[[Optional[str]], Iterator[Problem]]:
    def check(path: Optional[str]) -> Iterator[Problem]:
        if path is None:
            return
        parent = os.path.dirname(path)
        if os.path.exists(path):
            if not os.path.isfile(path) or not os.access(path, os.W_OK):
                yield Problem("gateway", option, f"{option} {path} is no file that this user may write",
                              "correct the path, or the file's mode")
        elif not os.path.exists(parent):
            yield Problem("gateway", option, f"there is no directory {parent} for {option}",
                          f"make it (mkdir -p {parent}), or correct the path")
        else:
            yield from _writable(parent, "gateway", option, f"{path} cannot be made")
    return check


def _readable(section: str, option: str, path: str, what_to_do: str) -> Iterator[Problem]:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        yield Problem(section, option, f"{option} {path} cannot be read: {error.strerror}", what_to_do)


def _secret(section: str, option: str, path: str) -> Iterator[Problem]:
    if os.path.exists(path) and os.stat(path).st_mode & stat.S_IRWXO:
        yield Problem(section, option, f"every user of this host can use the key in {path}", f"do: chmod o= {path}")


def _ceph_conf(path: str) -> Iterator[Problem]:
    yield from _readable("ceph", "config_file", path, "copy the cluster's ceph.conf there, or correct the path")


def _ceph_user(ceph: CephSettings) -> Iterator[Problem]:
    """Has a key in the file that is named, or where librados looks by itself."""
    if ceph.keyring is not None:
        unreadable = list(_readable("ceph", "keyring", ceph.keyring,
                                    f"make it with: {caps_text(ceph)} -o {ceph.keyring}"))
        yield from unreadable or [*_secret("ceph", "keyring", ceph.keyring), *_key_of(ceph, ceph.keyring)]
        return
    try:
        client = rados.Rados(name=f"client.{ceph.id}", conffile=ceph.config_file)
    except rados.Error as error:
        if os.access(ceph.config_file, os.R_OK):
            yield Problem("ceph", "config_file", f"Ceph cannot read {ceph.config_file} ({error})", "correct that file")
        return
    paths = [path for path in (client.conf_get("keyring") or "").split(",") if path]
    if client.conf_get("key") or client.conf_get("keyfile"):
        return
    there = next((path for path in paths if os.path.exists(path)), None)
    if there is None:
        yield Problem("ceph", "keyring", f"there is no key for client.{ceph.id}: none of {', '.join(paths)} exists",
                      f"make one with: {caps_text(ceph)} -o {paths[0] if paths else 'FILE'}, or set keyring")
    else:
        yield from [*_secret("ceph", "keyring", there), *_key_of(ceph, there)]


def _key_of(ceph: CephSettings, path: str) -> Iterator[Problem]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
        users = [name for name in parser.sections() if parser.has_option(name, "key")]
    except (configparser.Error, UnicodeDecodeError):
        users = []
    if f"client.{ceph.id}" not in users:
        yield Problem("ceph", "keyring", f"{path} has no key of client.{ceph.id}; it has those of: "
                      f"{', '.join(users) or 'nobody'}",
                      f"make it with: {caps_text(ceph)} -o {path}, or correct the option id in section [ceph]")


def _target(path: str) -> Iterator[Problem]:
    if not os.path.exists(path):
        yield Problem("spdk", "tgt_path", f"there is no target program {path}",
                      "install SPDK's nvmf_tgt there, or correct the path")
    elif not os.path.isfile(path) or not os.access(path, os.X_OK):
        yield Problem("spdk", "tgt_path", f"{path} is no program that this user may run",
                      f"do: chmod +x {path}, or correct the path")


def _target_arguments(arguments: Tuple[str, ...]) -> Iterator[Problem]:
    if any(a == "-r" or a.startswith("--rpc-socket") for a in arguments):
        yield Problem("spdk", "tgt_cmd_extra_args", "tgt_cmd_extra_args names the JSON-RPC socket (-r)",
                      "leave it out, and set rpc_socket instead")
    if "--no-huge" not in arguments and not _hugepages():
        yield Problem("spdk", "tgt_cmd_extra_args", "tgt_cmd_extra_args lacks --no-huge, and this host has reserved no "
                      "hugepages", "reserve some (`sysctl vm.nr_hugepages=1024`, and in /etc/sysctl.d for the next "
                      "boot), or add --no-huge -s 512")
    missing = _cores(arguments) - os.sched_getaffinity(0)
    if missing:
        yield Problem("spdk", "tgt_cmd_extra_args", "tgt_cmd_extra_args asks for cores that this host does not have: "
                      f"{', '.join(map(str, sorted(missing)))}", "correct the mask after -m (bit 0 is core 0)")


def _hugepages() -> bool:
    with open(MEMINFO, encoding="utf-8") as file:
        return any(line.startswith("HugePages_Total:") and int(line.split()[1]) for line in file)


def _cores(arguments: Tuple[str, ...]) -> "set[int]":
    """Of the mask, where it is one and not a list of cores."""
    words: List[str] = list(arguments)
    for place, word in enumerate(words[:-1]):
        if word in ("-m", "--cpumask"):
            try:
                mask = int(words[place + 1], 16)
            except ValueError:
                return set()
            return {bit for bit in range(mask.bit_length()) if mask >> bit & 1}
    return set()


def _rpc_socket(path: str, run_dir: str) -> Iterator[Problem]:
    directory = os.path.dirname(path)
    if directory != run_dir:   # the warden makes no other
        yield from _writable(directory, "spdk", "rpc_socket", f"{path} cannot be made")


_CHECKS: Tuple[Tuple[Tuple[str, ...], Callable[..., Iterator[Problem]]], ...] = (
    (("gateway.addr", "gateway.port", "gateway.run_dir"), _address),
    (("gateway.encryption_key",), _encryption_key),
    (("gateway.run_dir",), _run_dir),
    (("gateway.log_file",), _appended_file("log_file")),
    (("gateway.trace_file",), _appended_file("trace_file")),
    (("ceph.config_file",), _ceph_conf),
    (("spdk.tgt_path",), _target),
    (("spdk.tgt_cmd_extra_args",), _target_arguments),
    (("spdk.rpc_socket", "gateway.run_dir"), _rpc_socket),
    (("gateway.port", "discovery.port"), _ports),
    (("gateway.enable_auth", "gateway.insecure_api", "gateway.addr", "mtls.server_key", "mtls.server_cert",
      "mtls.client_cert", "mtls.client_key"), certificate_checks.look),
)
