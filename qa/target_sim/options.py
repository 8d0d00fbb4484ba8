"""The command line of nvmf_tgt.

Every flag of the real program is accepted, so that a command line that works there works here. Most of them
steer hugepages, PCI and cores and mean nothing to this process; what matters is that a flag the real program
would refuse is refused here too, with the same exit code.
"""

from __future__ import annotations

import getopt
import json
from dataclasses import dataclass
from typing import Optional

DEFAULT_SOCKET = "/var/tmp/spdk.sock"
USAGE_ERROR = 2
START_ERROR = 1
SHORT = "c:de:ghi:m:n:p:r:s:uvB:L:RA:"
LONG = [
    "config=",
    "limit-coredump",
    "tpoint-group=",
    "single-file-segments",
    "help",
    "shm-id=",
    "cpumask=",
    "mem-channels=",
    "main-core=",
    "rpc-socket=",
    "mem-size=",
    "no-pci",
    "version",
    "pci-blocked=",
    "logflag=",
    "huge-unlink",
    "pci-allowed=",
    "interrupt-mode",
    "silence-noticelog",
    "wait-for-rpc",
    "huge-dir=",
    "num-trace-entries=",
    "json=",
    "json-ignore-init-errors",
    "iova-mode=",
    "base-virtaddr=",
    "env-context=",
    "disable-cpumask-locks",
    "rpcs-allowed=",
    "vfio-vf-token=",
    "msg-mempool-size=",
    "lcores=",
    "no-huge",
    "no-rpc-server",
    "enforce-numa",
]


class UsageError(Exception):
    """The command line cannot be used; the text says why. `exit_code` is what the real program returns."""

    def __init__(self, text: str, exit_code: int = USAGE_ERROR) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass
class Options:
    rpc_socket: Optional[str] = DEFAULT_SOCKET
    cpumask: str = "0x1"
    mem_size_mb: Optional[int] = None
    no_huge: bool = False
    interrupt_mode: bool = False
    wait_for_rpc: bool = False
    config_file: Optional[str] = None
    ignore_config_errors: bool = False
    rpcs_allowed: Optional[list[str]] = None
    show: Optional[str] = None
    lock_cpumask: bool = True


def parse(arguments: list[str]) -> Options:
    """Raises UsageError. `show` is "help" or "version" when the program should only print that."""
    try:
        flags, rest = getopt.gnu_getopt(arguments, SHORT, LONG)
    except getopt.GetoptError as error:
        raise UsageError(str(error)) from error
    if rest:
        raise UsageError(f"unexpected argument {rest[0]!r}")
    options = Options()
    for flag, value in flags:
        _apply(options, flag, value)
    if options.no_huge and options.mem_size_mb is None:
        raise UsageError("--no-huge needs the memory size: give -s MB", START_ERROR)
    return options


def _apply(options: Options, flag: str, value: str) -> None:
    if flag in ("-r", "--rpc-socket"):
        options.rpc_socket = value
    elif flag == "--no-rpc-server":
        options.rpc_socket = None
    elif flag in ("-m", "--cpumask"):
        options.cpumask = value
    elif flag in ("-s", "--mem-size"):
        options.mem_size_mb = _megabytes(value)
    elif flag == "--no-huge":
        options.no_huge = True
    elif flag == "--interrupt-mode":
        options.interrupt_mode = True
    elif flag == "--disable-cpumask-locks":
        options.lock_cpumask = False
    elif flag == "--wait-for-rpc":
        options.wait_for_rpc = True
    elif flag in ("-c", "--config", "--json"):
        options.config_file = value
    elif flag == "--json-ignore-init-errors":
        options.ignore_config_errors = True
    elif flag == "--rpcs-allowed":
        options.rpcs_allowed = value.split(",")
    elif flag in ("-h", "--help"):
        options.show = "help"
    elif flag in ("-v", "--version"):
        options.show = "version"


def _megabytes(text: str) -> int:
    digits = text.rstrip("MGK")
    if not digits.isdigit():
        raise UsageError(f"invalid memory pool size -s {text}: a number of MB was expected")
    return int(digits)


def load_config(path: str) -> list[dict]:
    """The RPC calls of a JSON configuration file: {"subsystems": [{"subsystem": NAME, "config": [{"method",
    "params"}]}]}. Raises UsageError.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        return [call for subsystem in document["subsystems"] for call in subsystem.get("config") or []]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"configuration file {path} cannot be used: {error}", exit_code=255) from error
