"""Run a Keras model on symbolic inputs and write down every operation, in order.

The model is *called*, as for training, on tensors that have a shape and no content. Replacements in Keras, which act in
this thread for the duration of one call, do the rest; :mod:`.patches` lists them:

* ``Operation.symbolic_call`` records the operation instead of wiring it into a Keras graph;
* ``Layer.symbolic_call`` enters the layer, or records it whole when it has a handler, instead of inferring shapes;
* backend functions that make tensors out of sizes alone (``zeros``, ``eye`` …) are recorded when a size is free;
* some layers ask which backend they run on and then call the framework past ``keras.ops``, where symbolic tensors
  cannot go. Then the model is called again, and the layers are told NumPy, under which there is no framework to call.

Everything Keras does around a call (masks, mixed precision, training flags) stays Keras' own. Shapes are inferred
twice, with two sets of sizes for the free dimensions: an output dimension that differs between the two is free. What
Python code decides by the number of a free size is shown to be harmless, or refused (:mod:`.size_verification`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from keras import KerasTensor, StatelessScope, ops, tree

from mnistkit.core.errors import ExportError
from mnistkit.export.native import keras_hooks
from mnistkit.export.native.current_trace import TRACING
from mnistkit.export.native.framework_calls import explain, first_line
from mnistkit.export.native.patches import patches
from mnistkit.export.native.records import Trace, map_in_order
from mnistkit.export.native.signature import signature
from mnistkit.export.native.size_decisions import FreeSizeError
from mnistkit.export.native.size_verification import SizesOfInputs, verify_sizes
from mnistkit.export.native.symbolic_dim import FreeSize, SymbolicDim, make_tensor
from mnistkit.export.native.tracer import Tracer
from mnistkit.export.native.value_types import held_type


class Sizes(NamedTuple):
    """Sizes that the free dimensions of the inputs have in one shape inference.

    Attributes:
        batch: Size of axis 0.
        axis: Size of axis 1, where it is free.
        step: What each further axis is larger, so that no two axes are taken for the same.
    """

    batch: int
    axis: int
    step: int

    def of(self, axis: int) -> int:
        """Return the size of a free axis."""
        return self.batch if axis == 0 else self.axis + (axis - 1) * self.step


# Pairs of sizes, one for each of the two inferences, tried in turn until the model can be called. The first suits
# nearly every model: multiples of 64 can be halved six times and joined again, as networks for images do. With a step
# of 0 all free axes have the same length, which layers that compare two inputs need. The small ones suit tables of few
# positions, the last one layers that cut audio into long windows.
_SIZES = (
    (Sizes(2, 128, 64), Sizes(3, 320, 128)),
    (Sizes(2, 128, 0), Sizes(3, 320, 0)),
    (Sizes(2, 512, 128), Sizes(3, 1024, 256)),
    (Sizes(2, 16, 8), Sizes(3, 32, 16)),
    (Sizes(2, 8, 0), Sizes(3, 16, 0)),
    (Sizes(2, 4, 1), Sizes(3, 6, 2)),
    (Sizes(2, 3, 0), Sizes(3, 4, 0)),
    (Sizes(2, 8192, 128), Sizes(3, 16384, 256)),
)


def trace(model: Any, *, batch: int | None = None, inputs: Any = None, stateful: bool = True) -> Trace:
    """Trace a Keras model at inference.

    Args:
        model: Any built Keras model or layer.
        batch: Fix the batch dimension to this size; free where the model leaves it free when None.
        inputs: Structure of ``KerasTensor`` or ``InputSpec`` to call the model with, for a model that has not been
            called.
        stateful: What layers keep between calls becomes inputs and outputs; else every call begins with zeros.

    Raises:
        MissingKerasNameError: This version of Keras lacks a name that tracing needs.
        FreeSizeError: The model takes another way at other sizes.
        ExportError: The model's inputs are unknown, or the model cannot be called on symbolic inputs.
    """
    keras_hooks.check()
    structure, names, by_keyword = signature(model, inputs=inputs, namer=None)
    if not model.built:
        with contextlib.suppress(Exception):  # the trace below fails for the same reason, and says it
            _call_plain(model, map_in_order(lambda _, x: KerasTensor(x.shape, x.dtype), structure), by_keyword)
    free = any(size is None for spec in tree.flatten(structure) for size in spec.shape[1:])
    incomplete: Trace | None = None  # the first trace with layers that cannot be written
    failure: Exception | None = None  # why no trace came about at first
    for sizes in _SIZES if free else _SIZES[:1]:
        for pretend_numpy in (False, True):
            tracer = Tracer(pretend_numpy=pretend_numpy, stateful=stateful)
            tracer.trace.input_names = names
            tracer.trace.input_dtypes = [spec.dtype for spec in tree.flatten(structure)]
            try:
                _call(tracer, model, _symbolic_inputs(structure, _of(sizes), batch), by_keyword)
            except keras_hooks.MissingKerasNameError:
                raise
            except FreeSizeError as error:
                if incomplete is not None:  # only under a name that is not the backend's
                    return incomplete
                raise FreeSizeError((tracer.trace.size_refusals or [str(error)])[-1]) from error
            except Exception as error:  # noqa: BLE001  the model is foreign code: any failure asks for other sizes
                failure = failure or error
                if tracer.trace.unsupported:  # what cannot be written, and Keras cannot tell what it answers with
                    incomplete = incomplete or tracer.trace
            else:
                if not tracer.trace.unsupported:
                    retracer = partial(Tracer, pretend_numpy=pretend_numpy, stateful=stateful)
                    _verify_sizes(tracer.trace, model, structure, by_keyword, batch=batch, tracer=retracer)
                    return tracer.trace
                incomplete = incomplete or tracer.trace
            if not tracer.queried_backend:  # no layer wants to know the backend: another name changes nothing
                break
    if incomplete is not None:
        return incomplete
    assert failure is not None  # one of the loops above ended otherwise
    reason = explain(failure) or f"{type(failure).__name__}: {first_line(failure)}"
    raise ExportError(
        f"the model cannot be called on symbolic inputs: {reason}; "
        "check that it runs on a batch, or choose another exporter"
    ) from failure


def _of(sizes: tuple[Sizes, Sizes]) -> Callable[[int, int], tuple[int, int]]:
    """Return the sizes that an axis has in both inferences, the same for each input."""
    return lambda _, axis: (sizes[0].of(axis), sizes[1].of(axis))


def _symbolic_inputs(structure: Any, sizes_of: Callable[[int, int], tuple[int, int]], batch: int | None) -> Any:
    """Make the tensors to call the model with; all inputs have the same batch size."""
    shared: list[SymbolicDim] = []

    def size_of(place: int, axis: int, size: int | None) -> Any:
        if axis == 0 and batch is not None:
            return batch
        if size is not None:
            return int(size)
        if axis == 0 and shared:
            return shared[0]
        return FreeSize(*sizes_of(place, axis))

    def make(place: int, spec: Any) -> KerasTensor:
        shape = [size_of(place, axis, size) for axis, size in enumerate(spec.shape)]
        tensor = make_tensor(shape, held_type(spec.dtype))
        shared.extend(size for size in tensor.shape[:1] if isinstance(size, SymbolicDim))
        return tensor

    return map_in_order(make, structure)


def _verify_sizes(
    traced: Trace,
    model: Any,
    structure: Any,
    by_keyword: list[str],
    *,
    batch: int | None,
    tracer: Callable[[], Tracer],
) -> None:
    """Prove that the trace holds for every size.

    Raises:
        FreeSizeError: It does not.
    """

    def retrace(sizes: SizesOfInputs) -> Trace:
        again = tracer()
        inputs = _symbolic_inputs(structure, lambda place, axis: sizes[place, axis], batch)
        _call(again, model, inputs, by_keyword)
        return again.trace

    def runs(sizes: SizesOfInputs) -> bool:
        """Call the model itself on zeros."""
        first = next(iter(sizes))

        def zeros(place: int, spec: Any) -> Any:
            free = {axis: sizes.get((place, axis), sizes[first])[0] for axis in range(len(spec.shape))}
            shape = [batch if axis == 0 and batch else size or free[axis] for axis, size in enumerate(spec.shape)]
            return ops.zeros(shape, dtype=spec.dtype)

        # what layers keep between calls stays as it is
        scope = StatelessScope() if traced.states else contextlib.nullcontext()
        try:
            with scope:
                _call_plain(model, map_in_order(zeros, structure), by_keyword)
        except Exception:  # noqa: BLE001  the model is foreign code, and may refuse a size with anything
            return False
        return True

    verify_sizes(traced, retrace, runs)


def _call(tracer: Tracer, model: Any, inputs: Any, by_keyword: list[str]) -> None:
    """Call the model, and note its inputs and outputs in the trace."""
    traced = tracer.trace
    traced.input_structure = inputs
    traced.inputs = [x for x in tree.flatten(inputs) if isinstance(x, KerasTensor)]
    with TRACING.act(tracer, patches):
        traced.outputs = _call_plain(model, inputs, by_keyword)
    traced.output_names = _output_names(tracer, traced.outputs)


def _call_plain(model: Any, inputs: Any, by_keyword: list[str]) -> Any:
    flags = {"training": False} if keras_hooks.takes_argument(model, "training") else {}  # as Model.predict does
    if not by_keyword:
        return model(inputs, **flags)
    first, *others = by_keyword
    arguments = dict(zip(by_keyword, inputs, strict=True))
    return model(arguments[first], **{name: arguments[name] for name in others}, **flags)


def _output_names(tracer: Tracer, outputs: Any) -> list[str]:
    """Dict outputs have their keys, the others the name of the layer (or operation) that made them."""
    names = []
    for path, tensor in tree.flatten_with_path(outputs):
        if tensor is None:  # an optional answer that was not given is no output
            continue
        if isinstance(outputs, dict):
            names.append("_".join(str(part) for part in path))
        else:
            names.append(tracer.producers.get(id(tensor), "output"))
    return names
