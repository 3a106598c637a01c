"""What of a graph is drawn: small ones as they are, large ones folded until they can be read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mnistkit.publish.report.graph_picture import TIMES, Block, Box, Picture
from mnistkit.publish.report.graph_repeats import fold_repeats
from mnistkit.publish.report.words import counted, short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.publish.report.graph_file import Graph, Node

SMALL = 24
"""Operations up to which a graph is drawn as it is."""
MOST = 60
"""Boxes that a drawing has at most, beside inputs and outputs."""
_MOST_ENDS = 8  # inputs or outputs drawn
_FOLLOWERS = frozenset((
    "BatchNormalization", "Cast", "Clip", "Dropout", "Elu", "Erf", "Flatten", "Gelu", "HardSigmoid", "HardSwish",
    "Identity", "LeakyRelu", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Sqrt", "Squeeze",
    "Tanh", "Unsqueeze",
))  # fmt: skip
"""Operators that are drawn in the box of the one before them, where a graph is large."""
_SIZES = frozenset(("Shape", "Size"))
_TITLE, _SHAPE, _NAME = 27, 24, 30  # characters that a box has room for


def fold(graph: Graph, shapes: Mapping[str, TensorInfo], *, small: int = SMALL, most: int = MOST) -> Picture:
    """Decide what of a graph is drawn.

    Args:
        graph: The operations.
        shapes: Types and shapes of tensors by name, as far as they are known.
        small: Operations up to which nothing is folded.
        most: Boxes of operations that are drawn at most.
    """
    notes: list[str] = []
    nodes, weights = _without_constants(graph, notes)
    if len(nodes) > small:
        nodes = _without_sizes(nodes, weights, outputs=set(graph.outputs), notes=notes)
    groups = [[node] for node in nodes]
    if len(groups) > small:
        groups = _with_followers(nodes, outputs=set(graph.outputs))
        if len(groups) < len(nodes):
            notes.append("Activations and similar operations stand in the box of the operation before them.")
    boxes = [_box(group, weights, shapes=shapes) for group in groups]
    edges = _edges(groups)
    blocks: list[Block] = []
    if len(boxes) > small:
        boxes, edges, blocks, places = fold_repeats(boxes, edges)
    else:
        places = list(range(len(boxes)))
    at = {name: places[place] for place, group in enumerate(groups) for node in group for name in node.outputs}
    takers: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        for node in group:
            for name in node.inputs:
                takers.setdefault(name, []).append(places[place])
    if len(boxes) > most:
        left = sum(box.nodes for box in boxes[most:])
        notes.append(f"Only the first {most} boxes are drawn; {counted(left)} more follow.")
        title = f"{left:,} more operation{'' if left == 1 else 's'}"
        rest = Box(title, "", "", sum(box.parameters for box in boxes[most:]), "more", left)
        boxes = [*boxes[:most], rest]
        inside = {(one, two) for one, two in edges if two < most}
        going_on = {one for one, two in edges if one < most <= two} - {one for one, _ in inside}
        edges = inside | {(one, most) for one in going_on}  # an arrow for each would hide the rest
        blocks = [replace(block, last=min(block.last, most - 1)) for block in blocks if block.first < most]
        at = {name: min(place, most) for name, place in at.items()}
        takers = {name: [p for p in all_ if p < most] or [most] for name, all_ in takers.items()}
    if blocks:
        notes.append("A frame with a factor is a block that repeats; it is drawn once, with its first turn's shapes.")
    return _with_ends(graph, boxes, edges, blocks, at=at, takers=takers, shapes=shapes, notes=notes)


def _without_constants(graph: Graph, notes: list[str]) -> tuple[list[Node], dict[str, int]]:
    """Operations that depend on an input; what the others give counts as weights."""
    weights = dict(graph.weights)
    kept = []
    for node in graph.nodes:
        known = [weights[name] for name in node.inputs if name in weights]
        if len(known) == sum(1 for name in node.inputs if name) and not node.operator.startswith("Random"):
            weights |= dict.fromkeys(node.outputs, sum(known))
            if set(node.outputs) & set(graph.outputs):
                kept.append(node)
        else:
            kept.append(node)
    hidden = len(graph.nodes) - len(kept)
    if hidden:
        notes.append(f"Not drawn: {counted(hidden)} on constants alone.")
    return kept, weights


def _without_sizes(
    nodes: Sequence[Node], weights: Mapping[str, int], *, outputs: set[str], notes: list[str]
) -> list[Node]:
    """Operations without those that only compute shapes from shapes."""
    sizes: set[str] = set()
    kept = []
    for node in nodes:
        taken = [name for name in node.inputs if name and name not in weights]
        is_size = node.operator in _SIZES or (bool(taken) and set(taken) <= sizes)
        if is_size and not set(node.outputs) & outputs:
            sizes.update(node.outputs)
        else:
            kept.append(node)
    if len(kept) < len(nodes):
        notes.append(f"Not drawn: {counted(len(nodes) - len(kept))} to compute sizes.")
    return kept


def _with_followers(nodes: Sequence[Node], *, outputs: set[str]) -> list[list[Node]]:
    """Operations in groups: each with the simple ones that take its answer alone."""
    uses: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    groups: list[list[Node]] = []
    ends: dict[str, int] = {}  # the tensor that a group ends with, and the group's place
    for node in nodes:
        source = next((name for name in node.inputs if name in ends), None)
        if node.operator in _FOLLOWERS and source is not None and uses[source] == 1 and source not in outputs:
            place = ends.pop(source)
            groups[place].append(node)
        else:
            place = len(groups)
            groups.append([node])
        if len(node.outputs) == 1:
            ends[node.outputs[0]] = place
    return groups


def _box(group: Sequence[Node], weights: Mapping[str, int], *, shapes: Mapping[str, TensorInfo]) -> Box:
    titles = []
    for node in group:
        kernel = f" {TIMES.join(map(str, node.kernel))}" if node.kernel else ""
        titles.append(f"{short(node.operator, 24)}{kernel}")
    last = group[-1].outputs[0] if group[-1].outputs else ""
    parameters = sum(weights.get(name, 0) for node in group for name in node.inputs)
    name = group[0].name or last
    title, where = short(" + ".join(titles), _TITLE), short(name, _NAME) if name else ""
    return Box(title, where, _told(shapes.get(last)), parameters, "operation", len(group))


def _edges(groups: Sequence[Sequence[Node]]) -> set[tuple[int, int]]:
    made_by = {name: place for place, group in enumerate(groups) for node in group for name in node.outputs if name}
    return {
        (made_by[name], place)
        for place, group in enumerate(groups)
        for node in group
        for name in node.inputs
        if made_by.get(name, place) < place
    }


def _with_ends(
    graph: Graph,
    boxes: Sequence[Box],
    edges: set[tuple[int, int]],
    blocks: Sequence[Block],
    *,
    at: Mapping[str, int],
    takers: Mapping[str, Sequence[int]],
    shapes: Mapping[str, TensorInfo],
    notes: list[str],
) -> Picture:
    """The same with the inputs before and the outputs after it."""
    inputs, outputs = graph.inputs[:_MOST_ENDS], graph.outputs[:_MOST_ENDS]
    for all_, drawn, what in ((graph.inputs, inputs, "inputs"), (graph.outputs, outputs, "outputs")):
        if len(drawn) < len(all_):
            notes.append(f"The first {len(drawn)} of {len(all_)} {what} are drawn.")
    shift = len(inputs)
    whole = [Box(short(name, _TITLE), "input", _told(shapes.get(name)), 0, "input", 0) for name in inputs]
    whole += boxes
    joined = {(one + shift, two + shift) for one, two in edges}
    joined |= {(place, two + shift) for place, name in enumerate(inputs) for two in takers.get(name, ())}
    for name in outputs:
        if name in at:
            joined.add((at[name] + shift, len(whole)))
        whole.append(Box(short(name, _TITLE), "output", _told(shapes.get(name)), 0, "output", 0))
    moved = tuple(replace(block, first=block.first + shift, last=block.last + shift) for block in blocks)
    return Picture(tuple(whole), tuple(sorted(joined)), moved, tuple(notes), len(graph.nodes))


def _told(tensor: TensorInfo | None) -> str:
    if tensor is None:
        return ""
    sizes = ", ".join("?" if size is None else short(str(size), 12) for size in tensor.shape)
    kind = "" if tensor.dtype == "float32" else f"{tensor.dtype} "
    return short(f"{kind}[{sizes}]", _SHAPE)
