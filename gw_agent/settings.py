"""Settings of one gateway host, read from an INI file.

Promises: what `load` returns is complete and checked; anything unknown, missing or out of range raises SettingsError,
which names the file, the section, the option, what was found and what is allowed. Option names follow the existing
ceph-nvmeof gateway where it has them. Does not promise: that what a path or an address names exists; it may come later.
"""
from __future__ import annotations

import configparser
import ipaddress
import json
import os
import re
import shlex
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from gw_agent.io_progress import CLIENT_TICK_S
from nvmeof_ha_core.model import NAME_RULE, ModelError, check_name

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
API_SOCKET = "api.sock"
"""In `run_dir`."""
SOCKET_PATH_LIMIT_BYTES = 107
"""Longer paths do not fit in a Unix socket address."""
DEFAULT_TGT_ARGS = "--no-huge -s 512 --no-pci -m 0x1 --interrupt-mode --disable-cpumask-locks"


class SettingsError(Exception):
    """The settings file cannot be used; the text says why and what to write instead."""


@dataclass(frozen=True)
class GatewaySettings:
    """Section [gateway]."""

    name: str
    group: str
    addr: str
    """Address of the gRPC API. Any but a loopback address needs `enable_auth`, or `insecure_api` as an explicit choice;
    the Unix socket `run_dir`/api.sock, for the agent's own user, is there in any case."""
    port: int
    """Port of the gRPC API; 0: any free port, written to `run_dir`/api.json."""
    enable_auth: bool
    """Clients at `addr` must show a certificate (section [mtls])."""
    encryption_key: Optional[str]
    """File with the group's key, which encrypts those of hosts for the stored configuration (`group_key.py`)."""
    insecure_api: bool
    """Whoever reaches `addr` may do everything: for networks that nobody else is on. Log and health say so."""
    host_name: str
    """Listeners that are stored for this host name are this gateway's."""
    run_dir: str
    log_file: Optional[str]
    log_level: str
    trace_file: Optional[str]
    """Where warden and agent note what they read and concluded (`trace.py`, about 5 MB an hour); None: nowhere."""
    state_update_interval_sec: float
    bdevs_per_context: int
    rebalance_period_sec: float
    """How often it is looked whether namespaces should move to other ANA groups (`rebalancer.py`); 0: this gateway moves
    none by itself, and does not tell its load."""
    max_ns_to_change_lb_grp: int
    """At most so many leave the ANA group of a gateway that is being deleted in one such period."""
    stuck_s: float
    """How long a context's requests must go without any answer, while other clients are answered promptly for the same,
    until the I/O path counts as stuck (`io_progress.py`)."""


@dataclass(frozen=True)
class MtlsSettings:
    """Section [mtls]: files in PEM, needed with `enable_auth`; read again when they change (`tls.py`)."""

    server_key: Optional[str]
    server_cert: Optional[str]
    client_cert: Optional[str]
    """Certificates that clients are accepted by: their own, or that of the authority that signed them."""
    client_key: Optional[str]
    """For the clients on this host; no gateway reads it."""


@dataclass(frozen=True)
class CephSettings:
    """Section [ceph]."""

    pool: str
    control_pool: str
    config_file: str
    id: str
    """The cephx user without "client."."""
    keyring: Optional[str]


@dataclass(frozen=True)
class SpdkSettings:
    """Section [spdk]."""

    tgt_path: str
    tgt_cmd_extra_args: Tuple[str, ...]
    rpc_socket: str
    transport_tcp_options: Mapping[str, Any]


@dataclass(frozen=True)
class DiscoverySettings:
    """Section [discovery]."""

    port: int
    """Where hosts ask by default, at the address of each listener; 0: only the listeners' own ports answer."""


@dataclass(frozen=True)
class Settings:
    """All settings of one gateway host; one attribute per section."""

    gateway: GatewaySettings
    ceph: CephSettings
    spdk: SpdkSettings
    mtls: MtlsSettings
    discovery: DiscoverySettings


@dataclass(frozen=True)
class _Option:
    """How one option is read: `read` turns the text into the value or raises ValueError(what is allowed)."""

    read: Callable[[str], Any]
    default: Optional[str] = None
    """None: the option must be given. A default may name earlier options as {section.option}."""


def load(path: str) -> Settings:
    """Reads and checks the file. Raises SettingsError."""
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}; name the gateway's settings file") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not an INI file: {error}") from error
    _refuse_unknown(path, parser)
    values: Dict[str, Dict[str, Any]] = {}
    for section, options in _OPTIONS.items():
        values[section] = {}
        for name, option in options.items():
            values[section][name] = _value(path, parser, values, section, name, option)
    found = Settings(GatewaySettings(**values["gateway"]), CephSettings(**values["ceph"]),
                     SpdkSettings(**values["spdk"]), MtlsSettings(**values["mtls"]),
                     DiscoverySettings(**values["discovery"]))
    _check_api_access(path, found)
    return found


def _check_api_access(path: str, found: Settings) -> None:
    """The API changes everything, so nobody gets at it from elsewhere without a certificate or a decision."""
    gateway = found.gateway
    if gateway.enable_auth:
        missing = [name for name in ("server_key", "server_cert", "client_cert") if getattr(found.mtls, name) is None]
        if missing:
            raise SettingsError(f"{path}: enable_auth is on in section [gateway], but section [mtls] lacks "
                                f"{', '.join(missing)}; name the files there, or turn enable_auth off and listen on a "
                                "loopback address (addr = 127.0.0.1)")
        if gateway.insecure_api:
            raise SettingsError(f"{path}: enable_auth and insecure_api are both on in section [gateway]; remove the "
                                "one that is not meant")
    elif not ipaddress.ip_address(gateway.addr).is_loopback and not gateway.insecure_api:
        raise SettingsError(f"{path}: option addr in section [gateway] is {gateway.addr}, where others reach the API, "
                            "and enable_auth is off, so that anybody there could delete every namespace; set "
                            "enable_auth = true, and server_key, server_cert and client_cert in section [mtls]; or "
                            f"addr = 127.0.0.1 (local users also have {gateway.run_dir}/{API_SOCKET}); or, on a "
                            "network that nobody else is on, insecure_api = true, of which health will warn")


def _refuse_unknown(path: str, parser: configparser.ConfigParser) -> None:
    for section in parser.sections():
        if section not in _OPTIONS:
            raise SettingsError(f"{path}: unknown section [{section}]; allowed are "
                                + ", ".join(f"[{known}]" for known in _OPTIONS))
        for name in parser[section]:
            if name not in _OPTIONS[section]:
                raise SettingsError(f"{path}: unknown option {name} in section [{section}]; allowed are "
                                    + ", ".join(_OPTIONS[section]))


def _value(path: str, parser: configparser.ConfigParser, values: Dict[str, Dict[str, Any]], section: str, name: str,
           option: _Option) -> Any:
    text = parser.get(section, name, fallback=None)
    if text is None and option.default is None:
        raise SettingsError(f"{path}: option {name} is missing in section [{section}]; add the line '{name} = ...'")
    if not text and option.default is not None:
        text = re.sub(r"\{(\w+)\.(\w+)\}", lambda match: str(values[match[1]][match[2]]), option.default)
    try:
        return option.read(text or "")
    except ValueError as error:
        raise SettingsError(f"{path}: option {name} in section [{section}] is '{text}'; allowed is {error}") from None


def _flag(text: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _word(text: str) -> str:
    if not re.fullmatch(r"[^\s/]+", text):
        raise ValueError("a name without spaces and slashes")
    return text


def _user(text: str) -> str:
    if text.startswith("client."):
        raise ValueError(f"the cephx user without 'client.': {text[len('client.'):]}")
    return _word(text)


def _map_name(text: str) -> str:
    """A name that the gateway map can hold, or the gateway would wait for ever."""
    try:
        return check_name("", text)
    except ModelError:
        raise ValueError(NAME_RULE) from None


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[^\s/_]+", text):
        raise ValueError("a name without spaces, slashes and underscores (it is part of the stored listeners' keys); "
                         "without the option the gateway's name is used")
    return text


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("an IPv4 or IPv6 address") from None


def _path(text: str) -> str:
    if not os.path.isabs(text):
        raise ValueError("an absolute path")
    return os.path.normpath(text)


def _run_dir(text: str) -> str:
    path = _path(text)
    limit = SOCKET_PATH_LIMIT_BYTES - len(f"/{API_SOCKET}")
    if len(os.fsencode(path)) > limit:
        raise ValueError(f"a path of at most {limit} bytes, so that the paths of Unix sockets in it fit")
    return path


def _optional_path(text: str) -> Optional[str]:
    return _path(text) if text else None


def _socket_path(text: str) -> str:
    path = _path(text)
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT_BYTES:
        raise ValueError(f"a path of at most {SOCKET_PATH_LIMIT_BYTES} bytes; choose a shorter run_dir or rpc_socket")
    return path


def _number(kind: Callable[[str], Any], least: float, most: float) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ValueError(f"a number from {least} to {most}")
        return value
    return read


def _log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError("one of " + ", ".join(LOG_LEVELS))
    return text.upper()


def _arguments(text: str) -> Tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"a line of arguments as a shell reads them ({error})") from None


def _json_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('a JSON object such as {"in_capsule_data_size": 8192}')
    return MappingProxyType(value)


_OPTIONS: Dict[str, Dict[str, _Option]] = {
    "gateway": {
        "name": _Option(_map_name),
        "group": _Option(_map_name),
        "addr": _Option(_address),
        "port": _Option(_number(int, 0, 65535), "5500"),
        "host_name": _Option(_host_name, "{gateway.name}"),
        "enable_auth": _Option(_flag, "false"),
        "insecure_api": _Option(_flag, "false"),
        "encryption_key": _Option(_optional_path, ""),
        "run_dir": _Option(_run_dir, "/run/nvmeof-ha/{gateway.name}"),
        "log_file": _Option(_optional_path, ""),
        "log_level": _Option(_log_level, "INFO"),
        "trace_file": _Option(_optional_path, ""),
        "state_update_interval_sec": _Option(_number(float, 0.1, 3600), "5"),
        "bdevs_per_context": _Option(_number(int, 1, 10000), "32"),
        "rebalance_period_sec": _Option(_number(float, 0, 3600), "7"),
        "max_ns_to_change_lb_grp": _Option(_number(int, 1, 1000), "8"),
        "stuck_s": _Option(_number(float, CLIENT_TICK_S, 300), f"{CLIENT_TICK_S:g}"),
    },
    "ceph": {
        "pool": _Option(_word),
        "control_pool": _Option(_word, "{ceph.pool}"),
        "config_file": _Option(_path, "/etc/ceph/ceph.conf"),
        "id": _Option(_user, "nvmeof.{gateway.name}"),
        "keyring": _Option(_optional_path, ""),
    },
    "spdk": {
        "tgt_path": _Option(_path, "/usr/local/bin/nvmf_tgt"),
        "tgt_cmd_extra_args": _Option(_arguments, DEFAULT_TGT_ARGS),
        "rpc_socket": _Option(_socket_path, "{gateway.run_dir}/spdk.sock"),
        "transport_tcp_options": _Option(_json_object, "{}"),
    },
    "discovery": {"port": _Option(_number(int, 0, 65535), "8009")},
    "mtls": {name: _Option(_optional_path, "") for name in ("server_key", "server_cert", "client_cert", "client_key")},
}
