"""What is drawn of a graph: boxes, arrows and frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class Box:
    """One box of the drawing.

    Attributes:
        title: The operators in it.
        name: Where it comes from.
        shape: Type and shape of what it gives; empty where nothing tells.
        parameters: Floating-point weights of its own.
        kind: ``"operation"``, ``"input"``, ``"output"`` or ``"more"``.
        nodes: How many operations of the file it stands for.
    """

    title: str
    name: str
    shape: str
    parameters: int
    kind: str
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class Block:
    """Boxes ``first`` to ``last`` stand for ``times`` such blocks, one after another."""

    first: int
    last: int
    times: int


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn of a graph.

    Attributes:
        boxes: In the order in which they run.
        edges: Pairs of places in ``boxes``, from a box to one after it.
        blocks: Runs of boxes that repeat.
        notes: What was folded or left out, one sentence each.
        operations: How many operations the file has.
    """

    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, int], ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...]
    operations: int
