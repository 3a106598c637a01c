"""What `shrink` found, and the same as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from mnistkit.publish.shrink.candidates import Candidate


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What `shrink` found. ``print(shrunk)`` shows it as a table.

    Attributes:
        path: The file to use: the smaller one, or the float32 file where nothing is better.
        kind: ``"fp16"``, ``"int8"``, ``"int4"`` or ``"float32"``.
        picked: The candidate that was written; ``None`` for float32.
        candidates: Every one that was tried.
        source: The float32 file.
        size: Its bytes.
        accuracy: Its accuracy on the samples; ``None`` without targets.
        max_loss: What a candidate may lose, in percent.
        calibrated_on: What `int8-static` was calibrated on, in words.
        checked_on: What all were checked on, in words.
        note: What to know of these samples; empty where nothing.
    """

    path: Path
    kind: str
    picked: Candidate | None
    candidates: tuple[Candidate, ...]
    source: Path
    size: int
    accuracy: float | None
    max_loss: float
    calibrated_on: str
    checked_on: str
    note: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "file": str(self.path),
            "kind": self.kind,
            "method": self.picked.name if self.picked else None,
            "source": str(self.source),
            "size": self.size,
            "accuracy": self.accuracy,
            "max_loss": self.max_loss,
            "calibrated_on": self.calibrated_on,
            "checked_on": self.checked_on,
            "note": self.note,
            "candidates": [one.as_json() for one in self.candidates],
        }

    def __str__(self) -> str:
        """One line for each candidate, why a refused one is not kept, and the choice."""
        return _table(self)


def _table(found: Shrunk) -> str:
    has_accuracy = found.accuracy is not None
    sizes = next((list(one.times) for one in found.candidates if one.times), [])
    heads = ["bytes", "size", *(["accuracy"] if has_accuracy else []), "change", *(_time_head(size) for size in sizes)]
    rows = [["float32", f"{found.size:,}", "1.00", *([f"{found.accuracy:.4f}"] if has_accuracy else []), "-"]]
    rows[0] += ["1.00"] * len(sizes)
    rows += [_row(one, has_accuracy=has_accuracy, sizes=sizes) for one in found.candidates]
    widths = [max(len(row[place]) for row in [["", *heads], *rows]) for place in range(len(heads) + 1)]
    lines = [_line(["", *heads], widths), *(_line(row, widths) for row in rows)]
    lines += [f"not kept: {one.name} {one.refused}" for one in found.candidates if one.refused]
    told = f"checked on {found.checked_on}"
    if any(one.name == "int8-static" for one in found.candidates):
        told = f"calibrated on {found.calibrated_on}, {told}"
    measure = "points of accuracy" if has_accuracy else "% of the range of the answers"
    lines.append(f"{told}; allowed loss {found.max_loss:g} {measure}; times relative to float32, here")
    if found.picked is not None and found.picked.name == "int8-dynamic":
        lines.append(
            "note: rows of one run share their scales in int8-dynamic, so an answer depends a little on its batch"
        )
    if found.note:
        lines.append(f"note: {found.note}")
    if found.picked is None:
        lines.append("float32 is best" + (f"; copied to {found.path}" if found.path != found.source else ""))
    else:
        lines.append(f"wrote {found.path} ({found.picked.name})")
    return "\n".join(lines)


def _row(one: Candidate, *, has_accuracy: bool, sizes: list[int | None]) -> list[str]:
    accuracy = "-" if one.accuracy is None else f"{one.accuracy:.4f}"
    times = one.times or {}
    return [
        one.name,
        "-" if one.size is None else f"{one.size:,}",
        "-" if one.size_ratio is None else f"{one.size_ratio:.2f}",
        *([accuracy] if has_accuracy else []),
        "-" if one.change is None else f"{100 * one.change:.2f} %",
        *(f"{times[size]:.2f}" if size in times else "-" for size in sizes),
    ]


def _time_head(size: int | None) -> str:
    return "time" if size is None else f"time at {size}"


def _line(cells: list[str], widths: list[int]) -> str:
    first, *rest = (
        cell.ljust(width) if not place else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()
