"""Settings of one gateway host, read from an INI file.

Promises: what `load` returns is complete and checked; anything unknown, missing or out of range raises SettingsError,
which names all of it at once: file, line, section, option, what was found and what is expected. Option names follow the
existing ceph-nvmeof gateway where it has them. `gateway.conf.sample` explains each. Does not promise: that what a path
or an address names exists; it may come later (`config_check.py` looks).
"""
from __future__ import annotations

import configparser
import difflib
import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from gw_agent import option_readers as read
from gw_agent.io_progress import CLIENT_TICK_S
from gw_agent.option_readers import API_SOCKET

DEFAULT_TGT_ARGS = "--no-huge -s 512 --no-pci -m 0x1 --interrupt-mode --disable-cpumask-locks"


class SettingsError(Exception):
    """The settings file cannot be used; the text says why and what to write instead, a line for each problem."""


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
    """How often it is looked whether namespaces should move to other ANA groups (`rebalancer.py`); 0: this gateway
    moves none by itself, and does not tell its load."""
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
class Option:
    """How one option is read: `read` turns the text into the value or raises ValueError(what is allowed)."""

    read: Callable[[str], Any]
    default: Optional[str] = None
    """None: the option must be given. A default may name earlier options as {section.option}."""


@dataclass(frozen=True)
class Problem:
    """Something in a settings file, or about what an option names, that is not as it must be."""

    section: str
    """"" where it is about the file as a whole."""
    option: str
    """"" where it is about the section."""
    found: str
    expected: str
    """What is allowed, or what to do."""
    line: Optional[int] = None
    warning: bool = False
    """The gateway works nevertheless."""

    def text(self, path: str) -> str:
        where = path if self.line is None else f"{path}:{self.line}"
        return f"{where}: {self.found}; {self.expected}"


@dataclass(frozen=True)
class Examined:
    """All that a settings file says, right or wrong."""

    values: Mapping[str, Mapping[str, Any]]
    """By section and option: what could be read, defaults among it."""
    lines: Mapping[Tuple[str, str], int]
    """Where in the file an option is set, or, with option "", where its section begins."""
    problems: Tuple[Problem, ...]

    def line(self, section: str, option: str) -> Optional[int]:
        """Where it is set, else where its section begins; None: nowhere."""
        return self.lines.get((section, option), self.lines.get((section, "")))


def load(path: str) -> Settings:
    """Reads and checks the file. Raises SettingsError."""
    found = examine(path)
    if found.problems:
        raise SettingsError("\n".join(problem.text(path) for problem in found.problems))
    values = found.values
    return Settings(GatewaySettings(**values["gateway"]), CephSettings(**values["ceph"]),
                    SpdkSettings(**values["spdk"]), MtlsSettings(**values["mtls"]),
                    DiscoverySettings(**values["discovery"]))


def examine(path: str) -> Examined:
    """Reads as much of the file as can be read, and names every problem."""
    # No section is one of defaults for all others: [DEFAULT] is as unknown as any.
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",), default_section="")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        parser.read_string(text, path)
    except OSError as error:
        return _unreadable(Problem("", "", f"cannot be read: {error.strerror}", "name the gateway's settings file"))
    except (configparser.Error, UnicodeDecodeError) as error:
        return _unreadable(Problem("", "", f"is not an INI file: {error}",
                                   "write sections as [name] and options as name = value, each once"))
    lines = _lines(text)
    problems = list(_unknown(parser, lines))
    values: Dict[str, Dict[str, Any]] = {section: {} for section in OPTIONS}
    for section, options in OPTIONS.items():
        for name, option in options.items():
            problem = _read(parser, values, section, name, option)
            if problem is not None:
                problems.append(problem)
    problems += _api_access(values)
    found = Examined(values, lines, ())
    return Examined(values, lines, tuple(
        p if p.line is not None else replace(p, line=found.line(p.section, p.option)) for p in problems))


def _unreadable(problem: Problem) -> Examined:
    return Examined({section: {} for section in OPTIONS}, {}, (problem,))


def _lines(text: str) -> Dict[Tuple[str, str], int]:
    """Where sections and options are, in a file that configparser could read."""
    found: Dict[Tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\[([^\]]+)\]", line)
        option = re.match(r"([^\s#;\[=:][^=:]*)[=:]", line)   # what is indented goes on with the option above
        if header:
            section = header[1]
            found[section, ""] = number
        elif option:
            found[section, option[1].strip().lower()] = number
    return found


def _unknown(parser: configparser.ConfigParser, lines: Mapping[Tuple[str, str], int]) -> Iterator[Problem]:
    for section in parser.sections():
        if section not in OPTIONS:
            allowed = "allowed are " + ", ".join(f"[{known}]" for known in OPTIONS)
            yield Problem(section, "", f"unknown section [{section}]",
                          f"{_nearest(section, list(OPTIONS))} {allowed}".lstrip(), lines.get((section, "")))
            continue
        for name in parser[section]:
            if name not in OPTIONS[section]:
                yield Problem(section, name, f"unknown option {name} in section [{section}]", _where(section, name),
                              lines.get((section, name)))


def _where(section: str, name: str) -> str:
    """Where an option belongs that this section does not have."""
    elsewhere = [f"[{other}]" for other, options in OPTIONS.items() if name in options]
    if elsewhere:
        return f"it belongs into section {' or '.join(elsewhere)}"
    return _nearest(name, list(OPTIONS[section])) or f"allowed are {', '.join(OPTIONS[section])}"


def _nearest(name: str, known: List[str]) -> str:
    return "".join(f"did you mean {near}?" for near in difflib.get_close_matches(name, known, 1))


def _read(parser: configparser.ConfigParser, values: Dict[str, Dict[str, Any]], section: str, name: str,
          option: Option) -> Optional[Problem]:
    """Puts the option's value where it belongs, or says why there is none."""
    text = parser.get(section, name, fallback=None)
    if text is None and option.default is None:
        return Problem(section, name, f"option {name} is missing in section [{section}]",
                       f"add the line '{name} = ...'")
    if not text and option.default is not None:
        try:
            text = re.sub(r"\{(\w+)\.(\w+)\}", lambda match: str(values[match[1]][match[2]]), option.default)
        except KeyError:
            return None   # what it follows is a problem already
    try:
        values[section][name] = option.read(text or "")
    except ValueError as error:
        return Problem(section, name, f"option {name} in section [{section}] is '{text}'", f"allowed is {error}")
    return None


def _api_access(values: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """The API changes everything, so nobody gets at it from elsewhere without a certificate or a decision."""
    gateway, mtls = values["gateway"], values["mtls"]
    if not {"addr", "enable_auth", "insecure_api", "run_dir"} <= gateway.keys():
        return
    if gateway["enable_auth"]:
        missing = [name for name in ("server_key", "server_cert", "client_cert") if mtls.get(name, "unread") is None]
        if missing:
            yield Problem("gateway", "enable_auth", "enable_auth is on in section [gateway], but section [mtls] lacks "
                          f"{', '.join(missing)}", "name the files there, or turn enable_auth off and listen on a "
                          "loopback address (addr = 127.0.0.1)")
        if gateway["insecure_api"]:
            yield Problem("gateway", "insecure_api", "enable_auth and insecure_api are both on in section [gateway]",
                          "remove the one that is not meant")
    elif not ipaddress.ip_address(gateway["addr"]).is_loopback and not gateway["insecure_api"]:
        yield Problem("gateway", "addr", f"option addr in section [gateway] is {gateway['addr']}, where others reach "
                      "the API, and enable_auth is off, so that anybody there could delete every namespace",
                      "set enable_auth = true, and server_key, server_cert and client_cert in section [mtls]; or "
                      f"addr = 127.0.0.1 (local users also have {gateway['run_dir']}/{API_SOCKET}); or, on a "
                      "network that nobody else is on, insecure_api = true, of which health will warn")


OPTIONS: Dict[str, Dict[str, Option]] = {
    "gateway": {
        "name": Option(read.map_name),
        "group": Option(read.map_name),
        "addr": Option(read.address),
        "port": Option(read.number(int, 0, 65535), "5500"),
        "host_name": Option(read.host_name, "{gateway.name}"),
        "enable_auth": Option(read.flag, "false"),
        "insecure_api": Option(read.flag, "false"),
        "encryption_key": Option(read.optional_path, ""),
        "run_dir": Option(read.run_dir, "/run/nvmeof-ha/{gateway.name}"),
        "log_file": Option(read.optional_path, ""),
        "log_level": Option(read.log_level, "INFO"),
        "trace_file": Option(read.optional_path, ""),
        "state_update_interval_sec": Option(read.number(float, 0.1, 3600), "5"),
        "bdevs_per_context": Option(read.number(int, 1, 10000), "32"),
        "rebalance_period_sec": Option(read.number(float, 0, 3600), "7"),
        "max_ns_to_change_lb_grp": Option(read.number(int, 1, 1000), "8"),
        "stuck_s": Option(read.number(float, CLIENT_TICK_S, 300), f"{CLIENT_TICK_S:g}"),
    },
    "ceph": {
        "pool": Option(read.word),
        "control_pool": Option(read.word, "{ceph.pool}"),
        "config_file": Option(read.absolute_path, "/etc/ceph/ceph.conf"),
        "id": Option(read.user, "nvmeof.{gateway.name}"),
        "keyring": Option(read.optional_path, ""),
    },
    "spdk": {
        "tgt_path": Option(read.absolute_path, "/usr/local/bin/nvmf_tgt"),
        "tgt_cmd_extra_args": Option(read.arguments, DEFAULT_TGT_ARGS),
        "rpc_socket": Option(read.socket_path, "{gateway.run_dir}/spdk.sock"),
        "transport_tcp_options": Option(read.json_object, "{}"),
    },
    "discovery": {"port": Option(read.number(int, 0, 65535), "8009")},
    "mtls": {name: Option(read.optional_path, "")
             for name in ("server_key", "server_cert", "client_cert", "client_key")},
}
