"""Any value of the core as plain JSON values and back, by the type hints of its fields: for traces and their replay.

Promises: ``decode(encode(value)) == value`` for every dataclass, named tuple, enum and collection that the core is made
of, also ones that are added later; what cannot be a value of the asked type raises ``PlainError`` and names the place.
Fields that have their default are left out.  Not for what crosses between hosts: that is ``wire.py``, with a format
number and checks of its own; this is read by the release that wrote it.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from typing import (Any, Callable, Dict, FrozenSet, Mapping, NamedTuple, Sequence, Tuple, Union, get_args, get_origin,
                    get_type_hints)

_SETS = (get_origin(FrozenSet[Any]),)
_LISTS = (get_origin(Tuple[Any, ...]), get_origin(Sequence[Any]))
_MAPPINGS = (get_origin(Mapping[Any, Any]), get_origin(Dict[Any, Any]))


class PlainError(ValueError):
    """A plain value that is not what the type asks for."""


class Codec(NamedTuple):
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Codecs:
    """Codecs by type.  ``special``: types that are encoded otherwise, e.g. by reference.

    A dataclass becomes an object of its fields, inside a union of several types an object ``{name: fields}``; a named
    tuple, tuple or set a list; a mapping a list of pairs in its order.
    """

    def __init__(self, special: Mapping[Any, Codec] = {}) -> None:
        self._known: Dict[Any, Codec] = dict(special)

    def of(self, hint: Any) -> Codec:
        """Raises ``TypeError`` for a type that values of the core do not have."""
        if hint not in self._known:
            self._known[hint] = self._make(hint)
        return self._known[hint]

    def _make(self, hint: Any) -> Codec:
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Union:
            return self._union(inner)
        if origin is tuple and inner[-1] is not Ellipsis:
            return self._fixed([(str(n), self.of(item)) for n, item in enumerate(inner)], tuple)
        if origin in _LISTS:
            return self._many(self.of(inner[0]), list, tuple)
        if origin in _SETS:
            return self._many(self.of(inner[0]), lambda items: sorted(items, key=repr), frozenset)
        if origin in _MAPPINGS:
            pair = self.of(Tuple[inner[0], inner[1]])  # type: ignore[valid-type]
            many = self._many(pair, list, dict)
            return Codec(lambda value: many.encode(value.items()), many.decode)
        if is_dataclass(hint):
            return self._dataclass(hint)
        if isinstance(hint, type):
            return self._simple(hint)
        raise TypeError(f"no values of type {hint} are traced; extend plain.py")

    def _simple(self, hint: type) -> Codec:
        if issubclass(hint, tuple):
            hints = get_type_hints(hint)
            return self._fixed([(name, self.of(hints[name])) for name in hints], lambda items: hint(*items))
        if issubclass(hint, Enum):
            return Codec(lambda value: value.value, lambda value: _built(hint, hint, value))
        if hint not in (str, int, float, bool):
            raise TypeError(f"no values of type {hint.__name__} are traced; extend plain.py")

        def decode(value: Any) -> Any:
            # an int where a float is asked for is what a default or a rounded number may be
            if type(value) is not hint and (hint is not float or type(value) is not int):
                raise PlainError(f"expected {hint.__name__}, found {str(value)[:60]!r}")
            return value
        return Codec(lambda value: value, decode)

    def _union(self, kinds: Tuple[Any, ...]) -> Codec:
        kinds_but_none = [kind for kind in kinds if kind is not type(None)]
        if len(kinds_but_none) == 1:
            only = self.of(kinds_but_none[0])
        else:
            only = self._named({kind.__name__: (kind, self.of(kind)) for kind in kinds_but_none})
        if len(kinds_but_none) == len(kinds):
            return only
        return Codec(lambda value: None if value is None else only.encode(value),
                     lambda value: None if value is None else only.decode(value))

    @staticmethod
    def _named(kinds: Dict[str, Tuple[type, Codec]]) -> Codec:
        by_type = {kind: (name, codec) for name, (kind, codec) in kinds.items()}

        def encode(value: Any) -> Any:
            name, codec = by_type[type(value)]
            return {name: codec.encode(value)}

        def decode(value: Any) -> Any:
            if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in kinds:
                raise PlainError(f"expected an object named as one of {', '.join(kinds)}, found {str(value)[:60]!r}")
            [(name, content)] = value.items()
            return kinds[name][1].decode(content)
        return Codec(encode, decode)

    @staticmethod
    def _many(item: Codec, arranged: Callable[[Any], Any], collect: Callable[[Any], Any]) -> Codec:
        return Codec(lambda value: arranged(item.encode(part) for part in value),
                     lambda value: collect(item.decode(part) for part in _items(value)))

    @staticmethod
    def _fixed(parts: Any, collect: Callable[[Any], Any]) -> Codec:
        def decode(value: Any) -> Any:
            if len(_items(value)) != len(parts):
                raise PlainError(f"expected {len(parts)} items, found {str(value)[:60]!r}")
            return collect([codec.decode(part) for (_, codec), part in zip(parts, value)])
        return Codec(lambda value: [codec.encode(part) for (_, codec), part in zip(parts, value)], decode)

    def _dataclass(self, kind: type) -> Codec:
        hints = get_type_hints(kind)
        codecs = {f.name: self.of(hints[f.name]) for f in fields(kind)}
        defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(kind)}

        def encode(value: Any) -> Any:
            found = {}
            for name, codec in codecs.items():
                part = getattr(value, name)
                if part != defaults[name]:
                    found[name] = codec.encode(part)
            return found

        def decode(value: Any) -> Any:
            if not isinstance(value, dict) or not set(value) <= set(codecs):
                raise PlainError(f"expected the fields of {kind.__name__}, found {str(value)[:60]!r}")
            return _built(kind, lambda: kind(**{name: codecs[name].decode(part) for name, part in value.items()}))
        return Codec(encode, decode)


def _items(value: Any) -> Any:
    if not isinstance(value, list):
        raise PlainError(f"expected a list, found {str(value)[:60]!r}")
    return value


def _built(kind: type, build: Callable[..., Any], *args: Any) -> Any:
    try:
        return build(*args)
    except (TypeError, ValueError) as error:
        raise PlainError(f"{kind.__name__}: {error}") from None
