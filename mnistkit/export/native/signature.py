"""What a model is called with: structure, shapes, types and names of its inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from mnistkit.core.errors import ExportError
from mnistkit.export.native.keras_hooks import build_shapes, flatten_layers, input_structure, layer_of
from mnistkit.export.native.names import Namer


@dataclass(frozen=True, slots=True)
class Spec:
    """One input: shape with None for free dimensions, and type."""

    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """What a model of several arguments is called with: a structure of ``InputSpec`` or ``KerasTensor`` for each."""

    by_name: dict[str, Any]


def signature(model: Any, *, inputs: Any = None, namer: Namer | None = None) -> tuple[Any, list[str], list[str]]:
    """Return (structure of :class:`Spec`, flat names, keyword names).

    The keyword names are empty when the model takes one (possibly nested) argument; else the structure is a list with
    one entry for each.

    Raises:
        ExportError: Nothing says what the model is called with.
    """
    namer = namer or Namer()
    if isinstance(inputs, CallArguments):
        parts = list(inputs.by_name.values())
        structure = tree.map_structure(lambda x: _spec(x, None), parts)
        names = [getattr(x, "name", None) or name for name, part in inputs.by_name.items() for x in tree.flatten(part)]
        return structure, _flat_names(structure, namer, given=names), list(inputs.by_name)
    if inputs is not None:
        structure = tree.map_structure(lambda x: _spec(x, None), inputs)
        return (
            structure,
            _flat_names(structure, namer, given=[getattr(x, "name", None) for x in tree.flatten(inputs)]),
            [],
        )
    if isinstance(model, keras.Sequential) and not model.built:
        raise ExportError(
            f"the model {model.name!r} has no input shape yet; start it with keras.Input(shape) or build it"
        )
    struct = input_structure(model)
    if struct is not None:
        if isinstance(struct, (list, tuple)) and len(struct) == 1 and not isinstance(struct[0], (list, tuple, dict)):
            struct = struct[0]
        structure = tree.map_structure(lambda x: _spec(x, model), struct)
        return structure, _flat_names(structure, namer, given=[layer_of(x) for x in tree.flatten(struct)]), []
    return _recorded(model, namer)


def _recorded(model: Any, namer: Namer) -> tuple[Any, list[str], list[str]]:
    """A subclassed model: Keras recorded the shapes it was built with."""
    shapes = build_shapes(model)
    if not shapes:
        raise ExportError(
            f"the model {model.name!r} does not know its input shapes; call it once on a batch, then export it, or "
            "give the shapes: export_onnx(..., inputs=keras.InputSpec(dtype, shape))"
        )
    dtype = keras.backend.standardize_dtype(getattr(model, "input_dtype", None) or keras.config.floatx())

    def convert(shape: Any) -> Any:
        if isinstance(shape, dict):
            return {key: convert(shape[key]) for key in sorted(shape)}
        if all(size is None or isinstance(size, int) for size in shape):
            first = shape[0] if state_variables(model) else None
            return Spec((first, *[None if size is None else int(size) for size in shape[1:]]), dtype)
        return [convert(item) for item in shape]

    structures = [convert(shape) for shape in shapes.values()]
    keywords = [re.sub(r"_shape$", "", name) for name in shapes]
    if len(structures) == 1:
        return structures[0], _flat_names(structures[0], namer, given=None, fallback=keywords[0]), []
    return structures, _flat_names(structures, namer, given=keywords), keywords


def _spec(tensor: Any, model: Any) -> Spec:
    shape = getattr(tensor, "shape", None)
    if shape is None:
        raise ExportError(
            f"an input of {getattr(model, 'name', 'the model')!r} has no shape; give every input a keras.Input(shape)"
        )
    dtype = keras.backend.standardize_dtype(tensor.dtype or keras.config.floatx())
    sizes = tuple(None if size is None else int(size) for size in shape)
    return Spec((None, *sizes[1:]) if _fixed_by_a_call(model) else sizes, dtype)


def _fixed_by_a_call(model: Any) -> bool:
    """Say whether the batch size among a model's shapes may be only that of the first batch that it met.

    A ``Sequential`` without an ``Input`` takes the shape of the first batch, the batch size included, and its file does
    not tell that from a batch size that was asked for. Only states that are kept between batches need one.
    """
    return isinstance(model, keras.Sequential) and not state_variables(model)


def state_variables(model: Any) -> list[Any]:
    """Return the variables in which the layers with ``stateful=True`` keep tensors between calls."""
    layers = [layer for layer in flatten_layers(model) if getattr(layer, "stateful", False)]
    variables = [v for layer in layers for v in tree.flatten(getattr(layer, "states", None)) if v is not None]
    return list({id(variable): variable for variable in variables}.values())  # a wrapper lists those of its layers


def _flat_names(structure: Any, namer: Namer, *, given: list[Any] | None, fallback: str = "inputs") -> list[str]:
    """Dict inputs are named by their keys, the others by their layer."""
    names: list[str] = []
    paths = tree.flatten_with_path(structure)
    for index, (path, _) in enumerate(paths):
        source = given[index] if given is not None and index < len(given) else None
        if isinstance(structure, dict):
            name = "_".join(str(part) for part in path)
        elif isinstance(source, str):
            name = source
        elif source is not None:
            name = namer.name(source)
        else:
            name = fallback if len(paths) == 1 else f"{fallback}_{index}"
        if re.fullmatch(r"keras_tensor(_\d+)?|t", name):
            name = "input_layer" if len(paths) == 1 else f"input_layer_{index}"
        names.append(name)
    if len(set(names)) != len(names):
        names = [name if names.index(name) == index else f"{name}_{index}" for index, name in enumerate(names)]
    return names
