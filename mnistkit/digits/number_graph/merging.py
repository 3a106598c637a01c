"""Make one graph a part of another: new names, and the next version of some operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

_LISTED: Final = ("ReduceMean", "ReduceMax", "ReduceMin")  # before opset 18 their axes are an attribute


def rename(graph: onnx.GraphProto, new_name: Callable[[str], str]) -> None:
    """Rename all nodes and tensors of a graph and of the graphs within it; the empty name stays."""

    def rename_all(names: Any) -> None:
        names[:] = [name and new_name(name) for name in names]

    for node in graph.node:
        rename_all(node.input)
        rename_all(node.output)
        node.name = new_name(node.name)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                rename(attribute.g, new_name)
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = new_name(value.name)


def axes_as_inputs(graph: onnx.GraphProto, constant: Callable[..., str]) -> None:
    """From opset 17 to 18: reductions take their axes as an input, and Split says into how many parts.

    Args:
        graph: Is changed.
        constant: Gives the name of whole numbers.
    """
    from onnx import helper

    for node in graph.node:
        kept = []
        for attribute in node.attribute:
            if attribute.HasField("g"):
                axes_as_inputs(attribute.g, constant)
            if node.op_type in _LISTED and attribute.name == "axes":
                node.input.append(constant(*attribute.ints))
                continue
            kept.append(attribute)
        if node.op_type == "Split" and len(node.input) == 1:
            kept.append(helper.make_attribute("num_outputs", len(node.output)))
        copies = [type(one).FromString(one.SerializeToString()) for one in kept]
        del node.attribute[:]
        node.attribute.extend(copies)
