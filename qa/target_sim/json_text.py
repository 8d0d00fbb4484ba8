"""JSON as the target's RPC server reads it: strict, incremental, with duplicate members and the text of numbers
kept.

`first_value` splits a byte stream into JSON values. Python's decoder does the parsing; what it cannot do by
itself is to tell text that is wrong from text that has not arrived whole, which decides between closing a
connection and waiting.
"""

from __future__ import annotations

import json
import re
from typing import Any, Optional

WHITESPACE = " \t\r\n"
_UNFINISHED_WORD = re.compile(r"(t(r(ue?)?)?|f(a(l(se?)?)?)?|n(u(ll?)?)?|-?[0-9.eE+-]*)$")
_NUMBER_CHARACTERS = frozenset("0123456789+-.eE")


class Malformed(Exception):
    """The text can never become a JSON value."""


class Number(str):
    """A number as it was written, so that 1.5 and 12345678901234567890 are echoed unchanged."""

    def integer(self) -> Optional[int]:
        """The value if it is a whole number, else None."""
        if re.fullmatch(r"-?[0-9]+", self):
            return int(self)
        value = float(self)
        return int(value) if value.is_integer() else None


class Members(list):
    """An object as the list of its (name, value) pairs, in order and with duplicates."""

    def names(self) -> list[str]:
        return [name for name, _ in self]

    def get(self, name: str, default: Any = None) -> Any:
        return next((value for key, value in self if key == name), default)


def _refuse_constant(text: str) -> None:
    raise Malformed(f"{text} is no JSON value")


_DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_float=Number, parse_int=Number, parse_constant=_refuse_constant
)


def first_value(text: str, start: int) -> Optional[tuple[Any, int]]:
    """The value that begins at or after `start` and where it ends; None when more text is needed. Raises Malformed."""
    while start < len(text) and text[start] in WHITESPACE:
        start += 1
    if start == len(text):
        return None
    try:
        value, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        if _is_unfinished(text, error):
            return None
        raise Malformed(str(error)) from error
    except RecursionError as error:
        raise Malformed("nested too deeply") from error
    if isinstance(value, Number) and end == len(text) and text[end - 1] in _NUMBER_CHARACTERS:
        return None
    return value, end


def _is_unfinished(text: str, error: json.JSONDecodeError) -> bool:
    if error.msg.startswith("Unterminated string"):
        return True
    rest = text[error.pos :].strip(WHITESPACE)
    if error.msg.startswith("Invalid \\uXXXX escape"):
        return len(rest) < 5
    return bool(_UNFINISHED_WORD.match(rest))


def encode(value: Any) -> str:
    """Compact text in which a Number is written as it was read."""
    if isinstance(value, Number):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
