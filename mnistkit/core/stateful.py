"""Run a file whose layers keep tensors between calls, as Keras' recurrent layers with ``stateful=True`` do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.contract import read_states
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.runtime import Runtime

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo


class StatefulSession:
    """Carries the states of one stream of data from call to call.

    The file is an ordinary one: its states are inputs and outputs, and any onnxruntime can carry them. This class does
    it in Python, with onnxruntime and NumPy alone. It begins with zeros, as Keras does after ``reset_state()``.

    One object serves one stream. It is not for several threads at once, because each call begins where the last ended.

    Args:
        model: Path of a file from `mnistkit.export_onnx`, or its bytes.
        device: As for `mnistkit.Classifier`: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        threads: Threads inside one operator; by default one for each processor that this process may use.
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.

    Attributes:
        inputs: What a call takes, without the states.
        outputs: What a call answers, without the states.

    Raises:
        ModelFileError: The file cannot be read, or no layer in it keeps a state.
        DeviceError: The device cannot be had.

    Example:
        >>> session = StatefulSession("lstm.onnx")
        >>> first = session.run({"signal": chunk})["lstm"]
        >>> second = session.run({"signal": next_chunk})["lstm"]  # goes on where the first ended
        >>> session.reset()
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        *,
        device: str = "auto",
        threads: int | None = None,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        self._runtime = Runtime(model, device=device, threads=threads, provider_options=provider_options)
        self._names = dict(read_states(self._runtime.metadata))
        if not self._names:
            raise ModelFileError(
                f"{self._runtime.name}: no layer in it keeps a state; run it with onnxruntime, or export a model with "
                "stateful=True"
            )
        inputs = {tensor.name: tensor for tensor in self._runtime.inputs}
        outputs = {tensor.name for tensor in self._runtime.outputs}
        missing = [name for name in self._names if name not in inputs]
        missing += [name for name in self._names.values() if name not in outputs]
        if missing:
            raise ModelFileError(f"{self._runtime.name}: the file names states that it lacks: {', '.join(missing)}")
        self._held = {name: inputs[name] for name in self._names}
        self.inputs = tuple(tensor for tensor in self._runtime.inputs if tensor.name not in self._held)
        self.outputs = tuple(t for t in self._runtime.outputs if t.name not in self._names.values())
        self._states: dict[str, NDArray[Any]] = {}
        self.reset()

    def __repr__(self) -> str:
        takes, gives = (", ".join(map(str, tensors)) for tensors in (self.inputs, self.outputs))
        return f"StatefulSession({self._runtime.name!r}: {takes} -> {gives}; {len(self._names)} states)"

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the model once, and keep the states that it ends with.

        Args:
            feeds: One array for every input, by name, of the declared dtype and shape.

        Returns:
            One array for every output, by name.

        Raises:
            InputError: An input is missing or unknown, or onnxruntime refuses the arrays. The states stay as they were.
        """
        wanted = [tensor.name for tensor in self.inputs]
        if set(feeds) != set(wanted):
            given = ", ".join(map(str, feeds)) or "none"
            raise InputError(f"expected arrays {', '.join(wanted)}, got {given}; `states` sets the states")
        answers = self._runtime.run({**feeds, **self._states})
        self._states = {before: answers.pop(after) for before, after in self._names.items()}
        return answers

    def reset(self) -> None:
        """Begin a new stream: every state is zero."""
        self._states = {name: np.zeros(_shape(tensor), tensor.dtype) for name, tensor in self._held.items()}

    @property
    def states(self) -> dict[str, NDArray[Any]]:
        """A copy of the states by the names of their inputs; set it to go on with a stream that was left.

        Setting raises `mnistkit.errors.InputError` for other names, shapes or types.
        """
        return {name: array.copy() for name, array in self._states.items()}

    @states.setter
    def states(self, values: Mapping[str, NDArray[Any]]) -> None:
        if set(values) != set(self._held):
            given = ", ".join(map(str, values)) or "none"
            raise InputError(f"expected states {', '.join(self._held)}, got {given}")
        for name, tensor in self._held.items():
            array = np.asarray(values[name])
            if array.shape != _shape(tensor) or array.dtype != tensor.dtype:
                raise InputError(f"{name}: expected {tensor}, got {array.dtype} {list(array.shape)}")
        self._states = {name: np.array(values[name]) for name in self._held}


def _shape(tensor: TensorInfo) -> tuple[int, ...]:
    sizes = tuple(size for size in tensor.shape if isinstance(size, int))
    if len(sizes) != len(tensor.shape):
        raise ModelFileError(f"the state {tensor} has a free size; export the model again")
    return sizes
