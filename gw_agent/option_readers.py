"""Reads the text of one option: into its value, or ValueError(what is allowed).

Promises: nothing here looks at the host; what a path or an address names may come later (`host_checks.py` looks).
"""
from __future__ import annotations

import configparser
import ipaddress
import json
import os
import re
import shlex
from types import MappingProxyType
from typing import Any, Callable, Mapping, Optional, Tuple

from nvmeof_ha_core.model import NAME_RULE, ModelError, check_name

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
API_SOCKET = "api.sock"
"""In `run_dir`."""
SOCKET_PATH_LIMIT_BYTES = 107
"""Longer paths do not fit in a Unix socket address."""


def flag(text: str) -> bool:
    try:
        return configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


def word(text: str) -> str:
    if not re.fullmatch(r"[^\s/]+", text):
        raise ValueError("a name without spaces and slashes")
    return text


def user(text: str) -> str:
    if text.startswith("client."):
        raise ValueError(f"the cephx user without 'client.': {text[len('client.'):]}")
    return word(text)


def map_name(text: str) -> str:
    """A name that the gateway map can hold, or the gateway would wait for ever."""
    try:
        return check_name("", text)
    except ModelError:
        raise ValueError(NAME_RULE) from None


def host_name(text: str) -> str:
    if not re.fullmatch(r"[^\s/_]+", text):
        raise ValueError("a name without spaces, slashes and underscores (it is part of the stored listeners' keys); "
                         "without the option the gateway's name is used")
    return text


def address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("an IPv4 or IPv6 address") from None


def absolute_path(text: str) -> str:
    if not os.path.isabs(text):
        raise ValueError("an absolute path")
    return os.path.normpath(text)


def run_dir(text: str) -> str:
    path = absolute_path(text)
    limit = SOCKET_PATH_LIMIT_BYTES - len(f"/{API_SOCKET}")
    if len(os.fsencode(path)) > limit:
        raise ValueError(f"a path of at most {limit} bytes, so that the paths of Unix sockets in it fit")
    return path


def optional_path(text: str) -> Optional[str]:
    return absolute_path(text) if text else None


def socket_path(text: str) -> str:
    path = absolute_path(text)
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT_BYTES:
        raise ValueError(f"a path of at most {SOCKET_PATH_LIMIT_BYTES} bytes; choose a shorter run_dir or rpc_socket")
    return path


def number(kind: Callable[[str], Any], least: float, most: float) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ValueError(f"a number from {least} to {most}")
        return value
    return read


def log_level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError("one of " + ", ".join(LOG_LEVELS))
    return text.upper()


def arguments(text: str) -> Tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"a line of arguments as a shell reads them ({error})") from None


def json_object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('a JSON object such as {"in_capsule_data_size": 8192}')
    return MappingProxyType(value)
