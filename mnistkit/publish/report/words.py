"""Words and values that all parts of a report share: what is missing, short names, plain values for JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

LONGEST = 60
"""Characters of a name that a report shows; names come from files and may be of any length."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of a report that there is no data for.

    Attributes:
        reason: One line: what is missing and how to get it.
    """

    reason: str


def plain(value: Any) -> Any:
    """Data classes, arrays and tuples as JSON has them; pictures are left out."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "pixels"}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def short(text: str, limit: int = LONGEST) -> str:
    """A name on one line of at most ``limit`` characters, without what no font draws; its middle is left out."""
    line = "".join(one if one.isprintable() else " " for one in text[: 10 * limit])
    line = " ".join(line.split())
    if len(line) <= limit and len(text) <= 10 * limit:
        return line or "?"
    half = (limit - 1) // 2
    return f"{line[: limit - 1 - half]}…{line[-half:]}"


def counted(count: int, what: str = "operation") -> str:
    """A number with its noun: ``"1 operation"``, ``"1,098 operations"``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def milliseconds(value: float) -> str:
    """A time for people: three digits, without an exponent."""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"  # noqa: PLR2004  # three digits before the point


def fixed(value: float) -> str:
    """A number with four decimals; a very large one with four digits."""
    return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.4g}"  # noqa: PLR2004  # wider than a column
