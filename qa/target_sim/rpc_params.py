"""Decoding of RPC parameters: strict about names, types and ranges, as the target is.

A field is (name, decoder, required). A decoder returns the Python value or raises BadValue; `decode` turns
every refusal into the error the method asked for.
"""

from __future__ import annotations

import uuid
from typing import Any, Callable, NamedTuple

from .json_text import Members, Number
from .rpc_errors import RpcError, invalid_params


class BadValue(Exception):
    """A parameter has the wrong type or range."""


class Field(NamedTuple):
    name: str
    decoder: Callable[[Any], Any]
    required: bool = False


def string(value: Any) -> str:
    if isinstance(value, Number) or not isinstance(value, str) or "\0" in value:
        raise BadValue
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValue
    return value


def unsigned(bits: int) -> Callable[[Any], int]:
    def decoder(value: Any) -> int:
        number = value.integer() if isinstance(value, Number) else None
        if number is None or not 0 <= number < 1 << bits:
            raise BadValue
        return number

    return decoder


def signed32(value: Any) -> int:
    number = value.integer() if isinstance(value, Number) else None
    if number is None or not -(1 << 31) <= number < 1 << 31:
        raise BadValue
    return number


u8, u16, u32, u64 = unsigned(8), unsigned(16), unsigned(32), unsigned(64)


def uuid_text(value: Any) -> uuid.UUID:
    text = string(value)
    if len(text) != 36:
        raise BadValue
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise BadValue from error


def hex_bytes(length: int) -> Callable[[Any], bytes]:
    def decoder(value: Any) -> bytes:
        try:
            data = bytes.fromhex(string(value))
        except ValueError as error:
            raise BadValue from error
        if len(data) != length:
            raise BadValue
        return data

    return decoder


def printable(limit: int) -> Callable[[Any], str]:
    """Text of at most `limit` printable ASCII characters (serial and model numbers)."""

    def decoder(value: Any) -> str:
        text = string(value)
        if len(text) > limit or any(not " " <= character <= "~" for character in text):
            raise BadValue
        return text

    return decoder


def one_of(*choices: str) -> Callable[[Any], str]:
    def decoder(value: Any) -> str:
        if string(value) not in choices:
            raise BadValue
        return value

    return decoder


def string_list(value: Any) -> list[str]:
    if not isinstance(value, list) or isinstance(value, Members):
        raise BadValue
    return [string(item) for item in value]


def string_map(value: Any) -> list[tuple[str, str]]:
    """An object of strings as pairs; null counts as an empty object."""
    if value is None:
        return []
    if not isinstance(value, Members):
        raise BadValue
    return [(string(key), string(item)) for key, item in value]


def nested(*fields: Field) -> Callable[[Any], dict]:
    def decoder(value: Any) -> dict:
        return _members(value, fields, relaxed=False)

    return decoder


def _members(value: Any, fields: tuple[Field, ...], relaxed: bool) -> dict:
    if not isinstance(value, Members):
        raise BadValue
    known = {field.name: field for field in fields}
    decoded: dict[str, Any] = {}
    for name, item in value:
        if name in decoded or (name not in known and not relaxed):
            raise BadValue
        if name in known:
            decoded[name] = known[name].decoder(item)
    if any(field.required and field.name not in decoded for field in fields):
        raise BadValue
    return decoded


def decode(
    params: Any,
    *fields: Field,
    relaxed: bool = False,
    optional: bool = False,
    refusal: Callable[[], RpcError] = invalid_params,
) -> dict:
    """`optional`: the params member may be missing altogether. `relaxed`: unknown names are ignored. Raises what
    `refusal` makes.
    """
    if params is None and optional:
        return {}
    try:
        return _members(params, fields, relaxed)
    except BadValue as error:
        raise refusal() from error
