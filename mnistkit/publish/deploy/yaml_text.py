"""YAML, as people write it for Kubernetes: blocks of mappings and lists, plain words where nothing else is meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PLAIN = re.compile(r"(?=.*[A-Za-z])[A-Za-z/][A-Za-z0-9_./-]*")
"""Never a number or a date: they begin otherwise."""
_MEANS_MORE = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
_ASCII = range(0x20, 0x7F)
_TWO_BYTES = 0xFFFF


def yaml_text(*documents: Mapping[str, Any], comment: str = "") -> str:
    """Write documents.

    Args:
        documents: Mappings of text, numbers, ``bool``, ``None``, lists and mappings.
        comment: Lines to stand on top.
    """
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + "---\n".join("\n".join(_mapping(one, "")) + "\n" for one in documents)


def _mapping(fields: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in fields.items():
        if isinstance(value, (dict, list)) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _block(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(value)}"


def _block(value: Any, indent: str) -> Iterator[str]:
    return _mapping(value, indent) if isinstance(value, dict) else _list(value, indent)


def _list(values: Sequence[Any], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, (dict, list)) and value:
            first, *rest = _block(value, f"{indent}  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(value)}"


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        return "{}" if isinstance(value, dict) else "[]"
    if _PLAIN.fullmatch(value) and value.lower() not in _MEANS_MORE:
        return value
    return f'"{"".join(map(_escaped, value))}"'


def _escaped(letter: str) -> str:
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    code = ord(letter)
    if code in _ASCII:
        return letter
    return f"\\U{code:08X}" if code > _TWO_BYTES else f"\\u{code:04X}"
