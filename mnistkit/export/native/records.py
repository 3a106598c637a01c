"""What a traced model is made of: operations in order, their weights, and what cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import KerasTensor

from mnistkit.export.native.value_types import held_type


@dataclass(frozen=True, slots=True)
class Weight:
    """A variable as an operation's argument, with the type that the precision policy gives it there."""

    variable: Any
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the variable."""
        return tuple(self.variable.shape)


@dataclass(slots=True)
class Record:
    """One operation (or whole layer) that was called: which, where, with what, and its outputs."""

    target: Any
    scope: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    is_layer: bool = False


@dataclass(frozen=True, slots=True)
class UnsupportedItem:
    """A layer or operation that cannot be written, where it is in the model, and what to do about it."""

    path: str
    kind: str
    cure: str
    opset: int | None = None
    """The opset from which on it could be written, where there is one."""
    is_final: bool = False
    """Whether no other exporter can help."""

    def __str__(self) -> str:
        return f"{self.path} ({self.kind}): {self.cure}"


@dataclass(slots=True)
class KeptState:
    """A tensor that a layer keeps from call to call: an input of the file, and an output.

    Attributes:
        variable: Where Keras keeps it.
        name: Path of the layer, and the place among its states.
        before: What the call begins with.
        after: What the call leaves.
    """

    variable: Any
    name: tuple[str, int]
    before: KerasTensor
    after: Any


@dataclass(slots=True)
class Trace:
    """What a call of the model did.

    Attributes:
        inputs: Symbolic inputs, in flat order.
        input_names: Their names.
        input_dtypes: Their types as the model declares them; the backend may hold them in others.
        input_structure: The inputs as the model takes them.
        outputs: Symbolic outputs as the model gives them.
        output_names: Their names, in flat order.
        records: Operations in the order of the calls.
        unsupported: Layers that cannot be written.
        unsupported_outputs: The outputs of these layers.
        layer_outputs: Path and outputs of each call of a layer.
        comparisons: What Python compared a free size with.
        numbers_taken: Layer and place where Keras' own code took the number of a free size.
        size_refusals: Messages of refusals, which Keras may have wrapped in its own.
        states: What layers with ``stateful=True`` keep, in the order of their first calls.
    """

    inputs: list[KerasTensor]
    input_names: list[str]
    input_structure: Any
    outputs: Any = None
    input_dtypes: list[str] = field(default_factory=list)
    output_names: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    unsupported: list[UnsupportedItem] = field(default_factory=list)
    unsupported_outputs: list[Any] = field(default_factory=list)
    layer_outputs: list[tuple[str, Any]] = field(default_factory=list)
    comparisons: list[Any] = field(default_factory=list)
    numbers_taken: list[tuple[str, str]] = field(default_factory=list)
    size_refusals: list[str] = field(default_factory=list)
    states: list[KeptState] = field(default_factory=list)


def pin(value: Any) -> Any:
    """Turn a variable into a :class:`Weight` of the type that it has at this point of the call."""
    if not isinstance(value, keras.Variable):
        return value
    return Weight(value, held_type(keras.backend.standardize_dtype(value.dtype)))


def map_in_order(function: Callable[..., Any], structure: Any, *others: Any) -> Any:
    """Map over the leaves of structures in their flat order, which is the same on every backend.

    ``keras.tree.map_structure`` visits a dict in the order of its keys on some backends, and as it was filled on
    others.

    Args:
        function: Gets the place of the leaf in the flat order, and the leaf of each structure.
        structure: What the result is like.
        others: More of the same structure.
    """
    leaves = zip(*map(keras.tree.flatten, (structure, *others)), strict=True)
    return keras.tree.pack_sequence_as(structure, [function(place, *parts) for place, parts in enumerate(leaves)])


def map_leaves(structure: Any, function: Callable[[Any], Any]) -> Any:
    """Map over the leaves of tuples, lists, dicts and slices; ``keras.tree`` takes a slice for a leaf."""
    kind = type(structure)
    if kind is tuple:
        return tuple(map_leaves(item, function) for item in structure)
    if isinstance(structure, list):
        return [map_leaves(item, function) for item in structure]
    if isinstance(structure, dict):
        return {key: map_leaves(item, function) for key, item in structure.items()}
    if isinstance(structure, tuple):
        return type(structure)(*(map_leaves(item, function) for item in structure))
    if kind is slice:
        return slice(*(map_leaves(item, function) for item in (structure.start, structure.stop, structure.step)))
    return function(structure)
