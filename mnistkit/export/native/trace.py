"""Run a Keras model on symbolic inputs and write down every operation, in order.

The model is *called*, as for training, on tensors that have a shape and no content. Hooks, active in this thread for
the duration of one call and taken away after it, do the rest:

* ``Operation.symbolic_call`` records the operation instead of wiring it into a Keras graph;
* ``Layer.symbolic_call`` enters the layer, or records it whole when it has a handler, instead of inferring shapes;
* backend functions that make tensors out of sizes alone (``zeros``, ``eye`` …) are recorded when a size is free;
* where a layer asks which backend it runs on and then calls the framework past ``keras.ops``, which leads nowhere, the
  model is called again and the layer told NumPy, under which it can call none.

Everything Keras does around a call (masks, mixed precision, training flags) stays Keras' own. Shapes are inferred
twice, with two sets of sizes for the free dimensions: an output dimension that differs between the two is free.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import KerasTensor, tree

from mnistkit.core.errors import ExportError
from mnistkit.export.native import fold_in_float64 as exact
from mnistkit.export.native import registry
from mnistkit.export.native import shape_inference as specs
from mnistkit.export.native.keras_hooks import is_own
from mnistkit.export.native.names import Namer
from mnistkit.export.native.ops_backend import speaks_to_backend, symbolic_backend
from mnistkit.export.native.symbolic_dim import Dim, alt, collect, contains_dim


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
    """One operation (or whole layer) that was called: who, where, with what, and what came out."""

    target: Any
    scope: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    is_layer: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A layer or operation that cannot be written, where it is in the model, and what to do about it."""

    path: str
    kind: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path} ({self.kind}): {self.cure}"


@dataclass(slots=True)
class Trace:
    """What a call of the model did."""

    inputs: list[KerasTensor]
    input_names: list[str]
    input_structure: Any
    outputs: Any = None
    output_names: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    unwritten: list[Any] = field(default_factory=list)  # what layers with a problem give
    layer_outputs: list[tuple[str, Any]] = field(default_factory=list)


class Tracer:
    """Holds the state of one trace; :data:`STATE` points to it while the hooks are to act."""

    def __init__(self) -> None:
        self.namer = Namer()
        self.scopes: list[str] = []
        self.depth = 0
        self.paused = False
        self.neutral = False
        self.asked = False
        self.calls: dict[str, int] = {}
        self.producers: dict[int, str] = {}
        self.trace = Trace([], [], None)

    @property
    def scope(self) -> str:
        """The path of the layer being called; empty at the top of the model."""
        return "/".join(self.scopes)

    # -- operations ---------------------------------------------------------------------------------------------------

    def operation(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record an operation, run its decomposition, or trace through the ``call`` of a user's own."""
        kind = type(op)
        decomposition = registry.find_decomposition(kind)
        if decomposition is not None:
            try:
                return decomposition(op, *args, **kwargs)
            except registry.UnsupportedOp as error:
                if self.depth != 1:  # the layer around it is named
                    raise
                self.problem(op, str(error), decorator="register_op")
                return self.unwritten(op, args, kwargs)
        if registry.find_op(kind) is None and not is_own(kind):
            return self.users_operation(op, args, kwargs)
        outputs = self.infer(op, args, kwargs)
        self.record(op, args, kwargs, outputs)
        return outputs

    def users_operation(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace through the ``call`` of an operation that is not Keras'; refuse it by name when that is impossible."""
        before, known = len(self.trace.records), len(self.trace.problems)
        producer = self.namer.name(op)  # before the operations inside it, which may have the same name
        try:
            outputs = op.call(*args, **kwargs)
        except Exception as error:
            if len(self.trace.problems) > known:
                raise
            del self.trace.records[before:]
            self.problem(op, _reason(error), decorator="register_op")
            return self.unwritten(op, args, kwargs)
        if not self.scopes:
            for tensor in tree.flatten(outputs):
                self.producers[id(tensor)] = producer
        return outputs

    def record(
        self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any, *, is_layer: bool = False
    ) -> None:
        """Append one record, with variables pinned to the type they have at this point."""
        pinned = _map((args, kwargs), _pin)
        self.trace.records.append(Record(target, self.scope, pinned[0], pinned[1], outputs, is_layer=is_layer))
        if not self.scopes:
            producer = self.namer.name(target)
            for tensor in tree.flatten(outputs):
                self.producers[id(tensor)] = producer

    def infer(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return symbolic outputs, free dimensions found by a second inference with other sizes."""
        found: dict[Any, Dim] = {}
        attributes = {k: v for k, v in vars(target).items() if contains_dim(v)} if not _is_layer(target) else {}
        collect((args, kwargs, attributes), found)
        self.paused = True
        try:
            first = _spec(target, attributes, args, kwargs, int)
            second = _spec(target, attributes, args, kwargs, alt) if found else first
        finally:
            self.paused = False
        by_sizes: dict[tuple[int, int], list[Dim]] = {}
        for dim in found.values():
            by_sizes.setdefault((int(dim), dim.alt), []).append(dim)

        def merge(a: KerasTensor, b: KerasTensor) -> KerasTensor:
            out = KerasTensor((), dtype=a.dtype, name="t")
            shape: list[Any] = []
            for axis, (x, y) in enumerate(zip(a.shape, b.shape, strict=True)):
                if x == y and x is not None:
                    shape.append(int(x))
                    continue
                candidates = by_sizes.get((x, y), [])
                shape.append(candidates[0] if len(candidates) == 1 else Dim(x or 1, y or 1, ("axis", out, axis)))
            out._shape = tuple(shape)  # noqa: SLF001  the constructor would strip the dimensions' identity
            return out

        return tree.map_structure(merge, first, second)

    # -- layers -------------------------------------------------------------------------------------------------------

    def layer(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Enter a layer, or record it whole when a handler is registered for it."""
        root = self.depth == 0
        before = len(self.trace.records)
        if not root:
            self.scopes.append(self.namer.name(layer))
        self.depth += 1
        scope = self.scope
        try:
            outputs = self._call(layer, args, kwargs, before=before)
        finally:
            self.depth -= 1
            if not root:
                self.scopes.pop()
        if root:
            return outputs
        count = self.calls[scope] = self.calls.get(scope, 0) + 1
        self.trace.layer_outputs.append((scope if count == 1 else f"{scope}:{count}", outputs))
        if not self.scopes:
            for tensor in tree.flatten(outputs):
                if isinstance(tensor, KerasTensor):
                    self.producers[id(tensor)] = self.namer.name(layer)
        return outputs

    def _call(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, before: int) -> Any:
        if getattr(layer, "quantization_mode", None) is not None:
            self.problem(layer, f"quantised to {layer.quantization_mode}; export the float model and quantise the file")
            return self.unwritten(layer, args, kwargs)
        if registry.find_layer(type(layer)) is not None:
            outputs = self.infer(layer, args, kwargs)
            self.record(layer, args, kwargs, outputs, is_layer=True)
            return outputs
        known = len(self.trace.problems)
        decomposition = registry.find_layer_decomposition(type(layer))
        try:
            if decomposition is not None:
                return decomposition(layer, *args, **kwargs)
            if not isinstance(layer, keras.Model) and speaks_to_backend(layer):
                # augmentation is on by default in these; a file is for inference
                kwargs = {**kwargs, "training": False} if "training" in kwargs else kwargs
                with symbolic_backend(layer):
                    return layer.call(*args, **kwargs)
            return layer.call(*args, **kwargs)
        except Exception as error:
            if len(self.trace.problems) > known or self.depth == 1:
                raise
            del self.trace.records[before:]
            self.problem(layer, _reason(error))
            return self.unwritten(layer, args, kwargs)

    @contextlib.contextmanager
    def aside(self) -> Iterator[list[Record]]:
        """Record into a list of its own: the step of a loop."""
        kept = self.trace.records
        outputs = len(self.trace.layer_outputs)
        self.trace.records = []
        try:
            yield self.trace.records
        finally:
            self.trace.records = kept
            del self.trace.layer_outputs[outputs:]

    def unwritten(self, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Infer what a layer with a problem gives, so that the layers after it are looked at too."""
        outputs = self.infer(layer, args, kwargs)
        self.trace.unwritten.append(outputs)
        return outputs

    def problem(self, target: Any, reason: str, *, decorator: str = "register_layer") -> None:
        """Note a layer or a user's operation that cannot be written."""
        cure = f"{reason}; register a handler with @{decorator} or choose another exporter"
        self.trace.problems.append(Problem(self.scope or target.name, registry.class_name(type(target)), cure))


def _reason(error: Exception) -> str:
    """Say why a layer or an operation cannot be traced."""
    if isinstance(error, registry.UnsupportedOp):
        return str(error)
    first = str(error).strip().split("\n")[0][:160]
    return f"its call does not run on symbolic tensors ({type(error).__name__}: {first})"


def _is_layer(target: Any) -> bool:
    return isinstance(target, keras.layers.Layer)


def _pin(value: Any) -> Any:
    return Weight(value, keras.backend.standardize_dtype(value.dtype)) if isinstance(value, keras.Variable) else value


def _map(structure: Any, function: Callable[[Any], Any]) -> Any:
    """Map over tuples, lists, dicts and slices, which ``tree`` takes for leaves, by leaf."""
    kind = type(structure)
    if kind is tuple:
        return tuple(_map(item, function) for item in structure)
    if isinstance(structure, list):
        return [_map(item, function) for item in structure]
    if isinstance(structure, dict):
        return {key: _map(item, function) for key, item in structure.items()}
    if isinstance(structure, tuple):
        return type(structure)(*(_map(item, function) for item in structure))
    if kind is slice:
        return slice(*(_map(item, function) for item in (structure.start, structure.stop, structure.step)))
    return function(structure)


def _spec(target: Any, attributes: dict[str, Any], args: Any, kwargs: Any, side: Callable[[Any], int]) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, Dim):
            return side(value)
        if isinstance(value, KerasTensor):
            made = KerasTensor((), dtype=value.dtype, name="t")
            made._shape = tuple(side(size) for size in value.shape)  # noqa: SLF001  as in merge
            mask = getattr(value, "_keras_mask", None)
            if mask is not None and _is_layer(target):
                made._keras_mask = plain(mask)  # noqa: SLF001  layers look at the mask of their input
            return made
        return value

    if attributes:
        original, target = target, object.__new__(type(target))  # copy.copy would go through Keras' serialisation
        for name, value in vars(original).items():
            object.__setattr__(target, name, value)
        for name, value in attributes.items():
            object.__setattr__(target, name, _map(value, plain))
    args, kwargs = _map((args, kwargs), plain)
    try:
        return specs.infer(target, args, kwargs)
    except AttributeError:
        # a size given where a tensor belongs, as in ops.cast(ops.shape(x)[1], "float32")
        def tensor(value: Any) -> Any:
            return KerasTensor((), dtype="int32", name="t") if type(value) is int else value

        args, kwargs = _map((args, kwargs), tensor)
        return specs.infer(target, args, kwargs)


# -- hooks ------------------------------------------------------------------------------------------------------------


class _State(threading.local):
    tracer: Tracer | None = None


STATE = _State()
_LOCK = threading.RLock()


def _active() -> Tracer | None:
    tracer = STATE.tracer
    return tracer if tracer is not None and not tracer.paused else None


def active_tracer() -> Tracer:
    """Return the tracer at work.

    Raises:
        ExportError: None is: this is called from decompositions only.
    """
    tracer = _active()
    if tracer is None:
        raise ExportError("a decomposition was called outside a trace; call convert instead")
    return tracer


@contextlib.contextmanager
def _hooks(tracer: Tracer) -> Iterator[None]:  # noqa: PLR0915  a list of hooks
    """Install the hooks; other threads that use Keras meanwhile get Keras' own behaviour."""
    from keras.src import backend
    from keras.src.backend.common.variables import Variable
    from keras.src.layers import layer as layer_module
    from keras.src.ops.operation import Operation

    layer_class = layer_module.Layer
    undo: list[tuple[Any, str, Any]] = []

    def patch(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        if name not in vars(owner):
            return
        original = vars(owner)[name]
        undo.append((owner, name, original))
        setattr(owner, name, make(original))

    def operation_hook(original: Any) -> Any:
        def symbolic_call(self: Any, *args: Any, **kwargs: Any) -> Any:
            active = _active()
            return original(self, *args, **kwargs) if active is None else active.operation(self, args, kwargs)

        return symbolic_call

    def layer_hook(original: Any) -> Any:
        def symbolic_call(self: Any, *args: Any, **kwargs: Any) -> Any:
            active = _active()
            return original(self, *args, **kwargs) if active is None else active.layer(self, args, kwargs)

        return symbolic_call

    def node_hook(original: Any) -> Any:
        def node(*args: Any, **kwargs: Any) -> Any:
            return original(*args, **kwargs) if STATE.tracer is None else None

        return node

    def getitem_hook(original: Any) -> Any:
        def getitem(self: Any, key: Any) -> Any:
            if _active() is not None and contains_dim(key):
                from keras.src.ops.numpy import GetItem

                return GetItem().symbolic_call(self, key)
            return original(self, key)

        return getitem

    def backend_hook(original: Any) -> Any:
        # "numpy" is the one backend under which a layer can call no framework past keras.ops
        def backend_name() -> str:
            active = _active()
            if active is None:
                return str(original())
            active.asked = True
            return "numpy" if active.neutral else str(original())

        return backend_name

    def size_hook(replacement: Callable[..., Any]) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            def function(*args: Any, **kwargs: Any) -> Any:
                if _active() is not None and contains_dim((args, kwargs)):
                    return replacement(*args, **kwargs)
                return original(*args, **kwargs)

            return function

        return make

    def tensor_hook(replacement: Callable[..., Any]) -> Callable[[Any], Any]:
        def make(original: Any) -> Any:
            def function(*args: Any, **kwargs: Any) -> Any:
                if _active() is not None:
                    if _has_tensor(args, kwargs):
                        return replacement(*args, **kwargs)
                    if replacement.__name__ in exact.FUNCTIONS and not kwargs:
                        return exact.exactly(replacement.__name__, original, args)
                return original(*args, **kwargs)

            return function

        return make

    with _LOCK:
        try:
            _let_constants_defer(undo)
            _let_tensors_compare(undo)
            patch(Operation, "symbolic_call", operation_hook)
            patch(layer_class, "symbolic_call", layer_hook)
            patch(layer_module, "Node", node_hook)
            patch(Variable, "__getitem__", getitem_hook)
            patch(keras.config, "backend", backend_hook)
            patch(keras.backend, "backend", backend_hook)
            for owner in (backend.numpy, backend.core):
                for name, replacement in _size_functions().items():
                    patch(owner, name, size_hook(replacement))
            for owner in (backend, backend.numpy, backend.core, backend.nn, backend.math):
                for name in _shared_names(owner):
                    patch(owner, name, tensor_hook(getattr(keras.ops, name)))
            STATE.tracer = tracer
            yield
        finally:
            STATE.tracer = None
            for owner, name, original in reversed(undo):
                if original is None:
                    delattr(owner, name)
                else:
                    setattr(owner, name, original)


def _let_constants_defer(undo: list[tuple[Any, str, Any]]) -> None:
    """Make ``constant * symbolic`` the symbolic tensor's affair: arrays would try to convert it, and fail."""
    for name in [n for n in vars(KerasTensor) if n.endswith("_array__") and n != "__array__"]:
        undo.append((KerasTensor, name, vars(KerasTensor)[name]))
        delattr(KerasTensor, name)
    undo.append((KerasTensor, "__array_ufunc__", None))
    KerasTensor.__array_ufunc__ = None


def _let_tensors_compare(undo: list[tuple[Any, str, Any]]) -> None:
    """Make ``a == b`` an operation, as it is for real tensors: Keras' symbolic ones only compare identities."""

    def equal(self: Any, other: Any) -> Any:
        if _active() is None or other is None or isinstance(other, (str, type)):
            return NotImplemented
        return keras.ops.equal(self, other)

    undo.append((KerasTensor, "__eq__", None))
    KerasTensor.__eq__ = equal


def _has_tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Say whether a symbolic tensor that is not a mere size is among the arguments."""
    for x in (*args, *kwargs.values()):
        if isinstance(x, KerasTensor):
            if type(x) is not Dim:
                return True
        elif isinstance(x, (list, tuple)) and _has_tensor(tuple(x), {}):
            return True
    return False


@functools.cache
def _shared_names(owner: Any) -> tuple[str, ...]:
    """Functions of a backend module that ``keras.ops`` has by the same name: some layers call them directly."""
    left_alone = {"is_tensor", "shape", "dtype", "convert_to_numpy", "device_scope", "name_scope"}
    return tuple(
        sorted(
            name
            for name, value in vars(owner).items()
            if inspect.isfunction(value) and name not in left_alone and callable(getattr(keras.ops, name, None))
        )
    )


def _size_functions() -> dict[str, Callable[..., Any]]:
    """Backend functions that take sizes, and how each is recorded when a size is free."""
    from keras.src.ops import core
    from keras.src.ops import numpy as knp

    def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        return knp.Full(shape, dtype=dtype or keras.config.floatx()).symbolic_call(fill_value)

    def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:  # noqa: N803  the backend's own names
        rows = keras.ops.expand_dims(keras.ops.arange(N), 1)
        columns = keras.ops.expand_dims(keras.ops.arange(N if M is None else M), 0)
        return keras.ops.cast(keras.ops.equal(rows + k, columns), dtype or keras.config.floatx())

    def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:  # noqa: N803  the backend's own names
        rows = keras.ops.expand_dims(keras.ops.arange(N), 1)
        columns = keras.ops.expand_dims(keras.ops.arange(N if M is None else M), 0)
        return keras.ops.cast(keras.ops.greater_equal(rows + k, columns), dtype or keras.config.floatx())

    return {
        "full": full,
        "zeros": lambda shape, dtype=None: full(shape, 0, dtype),
        "ones": lambda shape, dtype=None: full(shape, 1, dtype),
        "eye": eye,
        "identity": lambda n, dtype=None: eye(n, dtype=dtype),
        "tri": tri,
        "broadcast_to": lambda x, shape: knp.BroadcastTo(shape).symbolic_call(x),
        "reshape": lambda x, newshape: knp.Reshape(newshape).symbolic_call(x),
        "tile": lambda x, repeats: knp.Tile(repeats).symbolic_call(x),
        "repeat": lambda x, repeats, axis=None: knp.Repeat(repeats, axis=axis).symbolic_call(x),
        "slice": lambda inputs, start_indices, shape: core.Slice(shape).symbolic_call(inputs, start_indices),
        "slice_update": lambda inputs, start, updates: core.SliceUpdate().symbolic_call(inputs, start, updates),
        "convert_to_tensor": _sizes_to_tensor,
        "cast": lambda x, dtype: core.Cast(dtype).symbolic_call(x),
    }


def _sizes_to_tensor(x: Any, dtype: Any = None, **_: Any) -> Any:
    """``convert_to_tensor((batch, 1, length))``: a tensor of sizes."""
    if isinstance(x, (list, tuple)):
        return keras.ops.stack([_sizes_to_tensor(item, dtype) for item in x])
    return keras.ops.cast(x, dtype or "int32") if isinstance(x, Dim) else keras.ops.convert_to_tensor(x, dtype)


# -- entry ------------------------------------------------------------------------------------------------------------

# Sizes given to free dimensions, tried in turn: (batch, first free axis, step by axis) for both inferences. Multiples
# of 64 let networks that halve and join again fit; small ones suit tables of few positions.
_SIZES = (
    ((2, 128, 64), (3, 320, 128)),
    ((2, 128, 0), (3, 320, 0)),
    ((2, 512, 128), (3, 1024, 256)),
    ((2, 16, 8), (3, 32, 16)),
    ((2, 8, 0), (3, 16, 0)),
    ((2, 4, 1), (3, 6, 2)),
    ((2, 3, 0), (3, 4, 0)),
    ((2, 8192, 128), (3, 16384, 256)),  # sound, sample by sample
)


def trace(model: Any, *, batch: int | None = None, inputs: Any = None) -> Trace:
    """Trace a Keras model at inference.

    Args:
        model: Any built Keras model or layer.
        batch: Fix the batch dimension to this size; free where the model leaves it free when None.
        inputs: Structure of ``KerasTensor`` or ``InputSpec`` to call the model with, for a model that has not been
            called.

    Raises:
        ExportError: The model's inputs are unknown, or the model cannot be called on symbolic inputs.
    """
    from mnistkit.export.native.signature import signature

    structure, names, by_keyword = signature(model, inputs=inputs, namer=None)
    free = any(size is None for spec in tree.flatten(structure) for size in spec.shape[1:])
    first: Exception | Trace | None = None
    for sizes in _SIZES if free else _SIZES[:1]:
        for neutral in (False, True):
            tracer = Tracer()
            tracer.neutral = neutral
            try:
                traced = _attempt(tracer, model, structure, names, sizes=sizes, batch=batch, by_keyword=by_keyword)
            except Exception as error:  # noqa: BLE001  the model is foreign code: any failure asks for other sizes
                first = first or error
            else:
                if not traced.problems:
                    return traced
                first = traced if not isinstance(first, Trace) else first
            if not tracer.asked:  # no layer wants to know the backend: another name changes nothing
                break
    if isinstance(first, Trace):
        return first
    reason = str(first).strip().split("\n")[0]
    raise ExportError(
        f"the model cannot be called on symbolic inputs: {type(first).__name__}: {reason}; "
        "check that it runs on a batch, or choose another exporter"
    ) from first


def _attempt(
    tracer: Tracer,
    model: Any,
    structure: Any,
    names: list[str],
    *,
    sizes: Any,
    batch: int | None,
    by_keyword: list[str],
) -> Trace:
    traced = tracer.trace
    traced.input_names = names

    def symbolic(spec: Any) -> KerasTensor:
        tensor = KerasTensor((), dtype=spec.dtype, name="t")
        shape: list[Any] = []
        for axis, size in enumerate(spec.shape):
            if axis == 0 and batch is not None:
                shape.append(batch)
            elif size is not None:
                shape.append(int(size))
            elif axis == 0:
                shape.append(Dim(sizes[0][0], sizes[1][0], ("axis", tensor, 0)))
            else:
                a, b = (s[1] + (axis - 1) * s[2] for s in sizes)
                shape.append(Dim(a, b, ("axis", tensor, axis)))
        tensor._shape = tuple(shape)  # noqa: SLF001  as in merge
        return tensor

    traced.input_structure = tree.map_structure(symbolic, structure)
    traced.inputs = [x for x in tree.flatten(traced.input_structure) if isinstance(x, KerasTensor)]
    _share_batch(traced.inputs)
    flags = {"training": False} if model._call_has_training_arg else {}  # noqa: SLF001  as Model.predict does
    with _hooks(tracer):
        if by_keyword:
            args = dict(zip(by_keyword, traced.input_structure, strict=True))
            first = args.pop(by_keyword[0])
            outputs = model(first, **args, **flags)
        else:
            outputs = model(traced.input_structure, **flags)
    traced.outputs = outputs
    traced.output_names = _output_names(tracer, outputs)
    return traced


def _share_batch(inputs: list[KerasTensor]) -> None:
    """All inputs have the same batch size."""
    shared = next((x.shape[0] for x in inputs if x.shape and isinstance(x.shape[0], Dim)), None)
    for x in inputs:
        if x.shape and isinstance(x.shape[0], Dim):
            x._shape = (shared, *x.shape[1:])  # noqa: SLF001  as in merge


def _output_names(tracer: Tracer, outputs: Any) -> list[str]:
    """Dict outputs have their keys, the others the name of the layer (or operation) that made them."""
    names = []
    for path, tensor in tree.flatten_with_path(outputs):
        if isinstance(outputs, dict):
            names.append("_".join(str(part) for part in path))
        else:
            names.append(tracer.producers.get(id(tensor), "output"))
    return names
