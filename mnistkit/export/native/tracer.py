"""The state of one trace: follows the calls of layers and operations, and writes them down."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import keras
from keras import KerasTensor, tree

from mnistkit.export.native import registry
from mnistkit.export.native.framework_calls import (
    attribute_of,
    explain,
    first_line,
    given_functions_followed,
    may_call_framework,
    torch_function,
)
from mnistkit.export.native.keras_hooks import MissingKerasNameError, is_own
from mnistkit.export.native.names import Namer
from mnistkit.export.native.ops_backend import symbolic_backend, uses_backend_directly
from mnistkit.export.native.quantized_calls import call_quantized
from mnistkit.export.native.records import KeptState, Record, Trace, UnsupportedItem, map_leaves, pin
from mnistkit.export.native.shape_inference import infer_symbolic
from mnistkit.export.native.size_decisions import FreeSizeError
from mnistkit.export.native.value_types import asks_backend


class Tracer:
    """Follows one call of a model.

    Args:
        pretend_numpy: Tell layers that ask for the backend's name that it is NumPy, under which they can call no
            framework past ``keras.ops``.
        stateful: What layers keep between calls becomes inputs and outputs; else every call begins with zeros.

    Attributes:
        trace: What was written down so far.
        queried_backend: A layer asked for the name of the backend.
        suspended: Keras is to behave as usual: shapes are being inferred.
        symbolic_backends: How many layers are being called whose own backend is to be ``keras.ops``.
        quantized_calls: How many quantized layers are being called.
        answer_type: The type of what the backend answers, while an operation on wide types is decomposed.
        follows_framework: The layer being called may call its framework itself; see :mod:`.framework_calls`.
    """

    def __init__(self, *, pretend_numpy: bool = False, stateful: bool = True) -> None:
        self.trace = Trace([], [], None)
        self.pretend_numpy = pretend_numpy
        self._stateful = stateful
        self._loops = 0
        self.queried_backend = False
        self.suspended = False
        self.symbolic_backends = 0
        self.quantized_calls = 0
        self.answer_type: str | None = None
        self.follows_framework = False
        self.producers: dict[int, str] = {}
        self._namer = Namer()
        self._scopes: list[str] = []
        self._depth = 0
        self._calls: dict[str, int] = {}

    @property
    def scope(self) -> str:
        """The path of the layer being called; empty at the top of the model."""
        return "/".join(self._scopes)

    def operation(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operation, run its decomposition, or trace through the ``call`` of a user's own."""
        kind: Any = type(op)
        args = tuple(map(_tensor_of_numbers, args)) if _takes_tensors(kind) else args
        decomposition = registry.find_decomposition(kind)
        if decomposition is not None:
            try:
                return self._decomposed(decomposition, op, args, kwargs)
            except registry.UnsupportedOp as error:
                if self._depth != 1:  # the layer around it is named
                    raise
                return self._unsupported(op, args, kwargs, str(error), decorator="register_op")
        if registry.find_op(kind) is None and not is_own(kind):
            return self._users_operation(op, args, kwargs)
        outputs = self.infer(op, args, kwargs)
        self.record(op, args, kwargs, outputs)
        return outputs

    def record(
        self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any, *, is_layer: bool = False
    ) -> None:
        """Append one record, with variables pinned to the type they have at this point."""
        pinned = map_leaves((args, kwargs), pin)
        self.trace.records.append(Record(target, self.scope, pinned[0], pinned[1], outputs, is_layer=is_layer))
        if not self._scopes:
            self._note_producer(target, outputs)

    def infer(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the symbolic outputs of an operation or a layer."""
        with self.suspend():
            return infer_symbolic(target, args, kwargs)

    @contextlib.contextmanager
    def suspend(self) -> Iterator[None]:
        """Let Keras behave as usual within the block."""
        outer, self.suspended = self.suspended, True
        try:
            yield
        finally:
            self.suspended = outer

    def layer(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Enter a layer, or record it whole when a handler is registered for it."""
        if self._depth == 0:
            return self._inside(layer, args, kwargs)
        self._scopes.append(self._namer.name(layer))
        scope = self.scope
        try:
            outputs = self._inside(layer, args, kwargs)
        finally:
            self._scopes.pop()
        count = self._calls[scope] = self._calls.get(scope, 0) + 1
        self.trace.layer_outputs.append((scope if count == 1 else f"{scope}:{count}", outputs))
        if not self._scopes:
            self._note_producer(layer, outputs)
        return outputs

    def call_framework(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what a function of PyTorch does, on symbolic tensors; NotImplemented when that is not known."""
        return torch_function(str(getattr(function, "__name__", "")), args, kwargs)

    def framework_attribute(self, tensor: Any, name: str) -> Any:
        """Return an attribute that a tensor of the framework has.

        Raises:
            AttributeError: It is not known.
        """
        return attribute_of(tensor, name)

    @contextlib.contextmanager
    def sub_trace(self) -> Iterator[list[Record]]:
        """Record into a list of its own: the step of a loop."""
        kept = self.trace.records
        outputs = len(self.trace.layer_outputs)
        self.trace.records = []
        self._loops += 1
        try:
            yield self.trace.records
        finally:
            self._loops -= 1
            self.trace.records = kept
            del self.trace.layer_outputs[outputs:]

    def kept_states(self, layer: Any, batch: Any) -> Any:
        """Return what a layer with ``stateful=True`` begins with, in the structure of its ``states``.

        Args:
            layer: A recurrent layer.
            batch: Size of the batch axis.

        Raises:
            UnsupportedOp: The layer is called in the step of a loop.
        """
        variables = tree.flatten(layer.states)
        if not self._stateful:
            zeros = [keras.ops.zeros((batch, *v.shape[1:]), dtype=layer.variable_dtype) for v in variables]
            return tree.pack_sequence_as(layer.states, zeros)
        if self._loops:
            raise registry.UnsupportedOp("stateful=True inside the step of another loop; set it to False there")
        return tree.pack_sequence_as(layer.states, [state.after for state in self._states_of(layer)])

    def keep_states(self, layer: Any, states: Any) -> None:
        """Note what a layer with ``stateful=True`` keeps for the next call."""
        if not self._stateful:
            return
        for state, new in zip(self._states_of(layer), tree.flatten(states), strict=True):
            state.after = keras.ops.cast(new, state.before.dtype)

    def _states_of(self, layer: Any) -> list[KeptState]:
        known = {id(state.variable): state for state in self.trace.states}
        found = []
        for place, variable in enumerate(tree.flatten(layer.states)):
            state = known.get(id(variable))
            if state is None:
                before = KerasTensor(variable.shape, layer.variable_dtype)  # a variable tells the type it is cast to
                state = KeptState(variable, (self.scope or layer.name, place), before, before)
                self.trace.states.append(state)
            found.append(state)
        return found

    def _inside(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._depth += 1
        outer, self.follows_framework = self.follows_framework, False
        try:
            return self._call(layer, args, kwargs)
        finally:
            self._depth -= 1
            self.follows_framework = outer

    def _call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if registry.find_layer(type(layer)) is not None:
            outputs = self.infer(layer, args, kwargs)
            self.record(layer, args, kwargs, outputs, is_layer=True)
            return outputs
        records = len(self.trace.records)
        unsupported = len(self.trace.unsupported)
        try:
            return self._run_or_follow(layer, args, kwargs)
        except (MissingKerasNameError, FreeSizeError):
            raise
        except Exception as error:
            if len(self.trace.unsupported) > unsupported or self._depth == 1:
                raise
            del self.trace.records[records:]
            return self._unsupported(
                layer, args, kwargs, _reason(error, layer), is_final=getattr(error, "is_final", False)
            )

    def _run_or_follow(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the layer; where that fails in code that may call the framework, once more, and follow such calls."""
        marks = {name: len(getattr(self.trace, name)) for name in _GROWING}
        calls = dict(self._calls)
        try:
            return self._run(layer, args, kwargs)
        except (MissingKerasNameError, registry.UnsupportedOp):
            raise
        except Exception:
            if len(self.trace.unsupported) > marks["unsupported"] or not may_call_framework(layer):
                raise
        for name, mark in marks.items():
            del getattr(self.trace, name)[mark:]
        self._calls = calls
        self.follows_framework = True
        with given_functions_followed(layer):
            return self._run(layer, args, kwargs)

    def _decomposed(self, decomposition: Any, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a decomposition; its outputs have the types that the backend answers with, where Keras does not know."""
        if not asks_backend((args, kwargs)):
            return decomposition(op, *args, **kwargs)
        try:
            types = [str(x.dtype) for x in tree.flatten(self.infer(op, args, kwargs))]
        except Exception:  # noqa: BLE001  Keras' inference refuses sizes that the decomposition can do without
            return decomposition(op, *args, **kwargs)
        outer, self.answer_type = self.answer_type, types[0] if types else None
        try:
            outputs = decomposition(op, *args, **kwargs)
        finally:
            self.answer_type = outer
        flat = tree.flatten(outputs)
        if len(flat) != len(types) or not all(isinstance(x, KerasTensor) for x in flat):
            return outputs
        pairs = zip(flat, types, strict=True)
        return tree.pack_sequence_as(outputs, [x if x.dtype == kind else keras.ops.cast(x, kind) for x, kind in pairs])

    def _users_operation(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace through the ``call`` of an operation that is not Keras'; refuse it by name when that is impossible."""
        records, unsupported = len(self.trace.records), len(self.trace.unsupported)
        producer = self._namer.name(op)  # before the operations inside it, which may have the same name
        try:
            outputs = op.call(*args, **kwargs)
        except (MissingKerasNameError, FreeSizeError):
            raise
        except Exception as error:
            if len(self.trace.unsupported) > unsupported:
                raise
            del self.trace.records[records:]
            return self._unsupported(op, args, kwargs, _reason(error, op), decorator="register_op")
        if not self._scopes:
            for tensor in tree.flatten(outputs):
                if isinstance(tensor, KerasTensor):
                    self.producers[id(tensor)] = producer
        return outputs

    def _run(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the layer, or its decomposition."""
        if getattr(layer, "quantization_mode", None) is not None:
            return call_quantized(self, layer, args, kwargs)
        decomposition = registry.find_layer_decomposition(type(layer))
        if decomposition is not None:
            return decomposition(layer, *args, **kwargs)
        if not isinstance(layer, keras.Model) and uses_backend_directly(layer):
            # augmentation is on by default in these; a file is for inference
            kwargs = {**kwargs, "training": False} if "training" in kwargs else kwargs
            with symbolic_backend(layer):
                return layer.call(*args, **kwargs)
        return layer.call(*args, **kwargs)

    def _unsupported(
        self,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        reason: str,
        *,
        decorator: str = "register_layer",
        is_final: bool = False,
    ) -> Any:
        """Note a layer or an operation that cannot be written; infer its outputs, so that what follows is looked at."""
        cure = reason if is_final else f"{reason}; register a handler with @{decorator} or choose another exporter"
        item = UnsupportedItem(self.scope or target.name, registry.class_name(type(target)), cure, is_final=is_final)
        self.trace.unsupported.append(item)
        outputs = self.infer(target, args, kwargs)
        self.trace.unsupported_outputs.append(outputs)
        return outputs

    def _note_producer(self, target: Any, outputs: Any) -> None:
        producer = self._namer.name(target)
        for tensor in tree.flatten(outputs):
            if isinstance(tensor, KerasTensor):
                self.producers[id(tensor)] = producer


@functools.cache
def _takes_tensors(kind: Any) -> bool:
    """Say whether an operation of Keras takes nothing but tensors, for which a list of numbers stands too."""
    names = set(inspect.signature(kind.call).parameters) - {"self"}
    return is_own(kind) and names <= {"condition", "x", "x1", "x2"}


def _tensor_of_numbers(x: Any) -> Any:
    """Return a list of numbers as the tensor that Keras makes of it; everything else as it is."""
    if not isinstance(x, (list, tuple)) or not all(type(leaf) in (bool, int, float) for leaf in tree.flatten(x)):
        return x
    return keras.ops.convert_to_tensor(x)


_GROWING = (
    "records", "unsupported", "unsupported_outputs", "layer_outputs", "comparisons", "numbers_taken", "size_refusals"
)  # fmt: skip
"""What a call adds to in a trace."""


def _reason(error: Exception, target: Any) -> str:
    """Say why a layer or an operation cannot be traced."""
    if isinstance(error, registry.UnsupportedOp):
        return str(error)
    explained = explain(error, target)
    if explained is not None:
        return f"its call does not run on symbolic tensors: {explained}"
    return f"its call does not run on symbolic tensors ({type(error).__name__}: {first_line(error)[:160]})"
