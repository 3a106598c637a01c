"""When a file answers differently: which Keras layer is the first whose output is off, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from mnistkit.core.comparison import compare
from mnistkit.core.errors import MnistkitError, ParityError
from mnistkit.core.runtime import Runtime
from mnistkit.core.thread_patches import Patch, ThreadPatches
from mnistkit.export.atomic_save import is_apart
from mnistkit.export.choose import NATIVE
from mnistkit.export.native import convert
from mnistkit.export.native.keras_hooks import patch_of
from mnistkit.export.native.names import Namer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.export.choose import Chosen
    from mnistkit.export.samples import Sample


def first_difference(model: Any, chosen: Chosen, sample: Sample, atol: float) -> str:
    """A clause for the error message, empty when the layers cannot be compared.

    Only files of the native exporter can be looked into: it can give every layer's output as an output of the graph.
    """
    if chosen.exporter != NATIVE or is_apart(chosen.proto):  # too large to be run in memory with every layer's output
        return ""
    try:
        found = compare_layers(model, chosen, sample, atol=atol)
    except MnistkitError:
        return ""
    return "" if found is None else f"; the first layer that differs is {found[0]} (largest difference {found[1]:.3g})"


def compare_layers(model: Any, chosen: Chosen, sample: Sample, *, atol: float) -> tuple[str, float] | None:
    """Path and largest difference of the first layer whose output differs, ``None`` when all agree.

    Raises:
        ExportError: The model cannot be written with its layers' outputs.
        InputError: onnxruntime refuses the sample.
    """
    tapped = convert(model, layer_outputs=True, optimize=False, stateful=not chosen.signature.reset)
    _copy_weights(chosen, tapped.proto)
    runtime = Runtime(tapped.proto.SerializeToString(), device="cpu", exact=True)
    size = max(sample.batch_sizes)  # in one row a difference may be hidden by zeros
    # the sample goes by the final names, the tapped graph by Keras'; their order is the same
    arrays = [array[:size] for array in sample.inputs.values()]
    names = [value.name for value in tapped.proto.graph.input]
    taken = {tensor.name for tensor in runtime.inputs}
    answers = runtime.run({name: array for name, array in zip(names, arrays, strict=True) if name in taken})
    watcher = _Watcher(model)
    with _WATCHING.act(watcher, _call_patches):
        signature = chosen.signature
        signature.call(model, {t.name: array for t, array in zip(signature.inputs, arrays, strict=True)})
    for path, outputs in tapped.layers.items():
        for name, expected in zip(outputs, watcher.seen.get(path, []), strict=False):
            try:
                compare(expected, answers[name], atol=atol, what=path)
            except ParityError:
                return path, _largest(expected, answers[name])
    return None


def _copy_weights(chosen: Chosen, proto: Any) -> None:
    """Give the tapped graph the weights of the file that failed, where they have the same name."""
    held = {tensor.name: tensor for tensor in chosen.proto.graph.initializer}
    for tensor in proto.graph.initializer:
        other = held.get(tensor.name)
        if other is not None and list(other.dims) == list(tensor.dims) and other.data_type == tensor.data_type:
            tensor.CopyFrom(other)


def _largest(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    if expected.shape != actual.shape:
        return float("nan")
    return float(np.max(np.abs(expected.astype(np.float64) - actual.astype(np.float64)), initial=0))


class _Watcher:
    """Keeps the outputs of every layer that is called in its thread, under the paths that the exporter gives them."""

    suspended = False

    def __init__(self, model: Any) -> None:
        self.seen: dict[str, list[NDArray[Any]]] = {}
        self._model = model
        self._namer = Namer()
        self._scopes: list[str] = []
        self._calls: dict[str, int] = {}

    def call(self, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do what ``Layer.__call__`` does, and keep the outputs."""
        layer = args[0]
        if layer is self._model:
            return original(*args, **kwargs)
        self._scopes.append(self._namer.name(layer))
        path = "/".join(self._scopes)
        try:
            outputs = original(*args, **kwargs)
        finally:
            self._scopes.pop()
        count = self._calls[path] = self._calls.get(path, 0) + 1
        tensors = [tensor for tensor in keras.tree.flatten(outputs) if keras.ops.is_tensor(tensor)]
        values = [value for value in map(_value, tensors) if value is not None]
        if len(values) == len(tensors):
            self.seen[path if count == 1 else f"{path}:{count}"] = values
        return outputs


def _value(tensor: Any) -> NDArray[Any] | None:
    """The tensor as an array; ``None`` inside a loop that the backend is compiling, where it has no value yet."""
    try:
        array: NDArray[Any] = keras.ops.convert_to_numpy(tensor)
    except (TypeError, NotImplementedError, AttributeError):  # JAX: TypeError; TensorFlow: the other two
        return None
    return array


def _call_patches() -> list[Patch]:
    return [patch_of("keras:Layer.__call__", _Watcher.call)]


_WATCHING: ThreadPatches[_Watcher] = ThreadPatches()
