"""After how many steps a program of XLA's has saved what its compilation costs.

The loop without XLA starts an operation for each node of the step and goes through memory for each tensor. XLA fuses
both away, and takes longer to compile the more nodes there are. So few steps of a model with large weight matrices are
worth it, and only many of one with small ones. The estimate reads the graph and no clock: two runs decide the same.

The costs were fitted to seven models on one CPU (docs/training.md). Another machine changes both sides alike.
"""

from __future__ import annotations

import math
from typing import Any

# nanoseconds of processor time
_COMPILE = 200e6
_COMPILE_NODE = 1.6e6
_START_NODE = 250
_GO_THROUGH_ELEMENT = 0.4
_TIME_STEPS = 50  # in which a loop inside the step is assumed to end
_LOOPS = {"While", "StatelessWhile"}
_NO_WORK = {"Const", "Placeholder", "ReadVariableOp", "Identity", "Reshape", "NoOp"}


def worth_steps(graph: Any) -> int:
    """Return how many steps XLA must do until it has saved more than it costs.

    Args:
        graph: of one traced step.
    """
    library = graph.as_graph_def().library.function
    own = graph.get_operations()
    bodies = {one.get_attr("body").name for one in own if one.type in _LOOPS}
    in_loops = sum(len(one.node_def) for one in library if one.signature.name in bodies)
    nodes = len(own) + sum(len(one.node_def) for one in library)
    saved = _START_NODE * (nodes + _TIME_STEPS * in_loops) + _GO_THROUGH_ELEMENT * _elements(own)
    return math.ceil((_COMPILE + _COMPILE_NODE * nodes) / saved)


def _elements(own: list[Any]) -> int:
    """Return the number of elements of all tensors that operations compute and whose shape is known."""
    outputs = [one for node in own if node.type not in _NO_WORK for one in node.outputs]
    return sum(one.shape.num_elements() or 0 for one in outputs)
