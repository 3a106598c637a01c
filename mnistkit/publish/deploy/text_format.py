"""Protobuf's text format, as far as a ``config.pbtxt`` needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FIRST_PRINTED, _DELETE = 0x20, 0x7F


class Word(str):
    """A name of an enumeration, which is written without quotation marks."""

    __slots__ = ()


def text_format(fields: Mapping[str, Any]) -> str:
    """Write a message.

    Args:
        fields: Values by field name: numbers, ``bool``, text, `Word`, mappings for messages, lists for repeated fields.
    """
    return "\n".join(_message(fields, "")) + "\n"


def _message(fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in fields.items():
        for one in value if isinstance(value, list) and any(isinstance(each, dict) for each in value) else [value]:
            if isinstance(one, dict):
                inner = list(_message(one, f"{indent}  "))
                yield from [f"{indent}{name} {{", *inner, f"{indent}}}"] if inner else [f"{indent}{name} {{ }}"]
            elif isinstance(one, list):
                yield f"{indent}{name}: [ {', '.join(map(_scalar, one))} ]"
            else:
                yield f"{indent}{name}: {_scalar(one)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, Word)):
        return str(value)
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    return letter if _FIRST_PRINTED <= ord(letter) != _DELETE else f"\\{ord(letter):03o}"
