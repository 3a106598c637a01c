"""What keeps processes in step between the steps: equal chunks, metrics of all samples, and a look at the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import DistributedError
from mnistkit.training import keras_hooks

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnistkit.training.distributed.group import Group

_SAME = 1e-4  # of a variable's size: processors round differently, and a process that trains apart is far off


class Together:
    """The processes of one call of ``fit``.

    Args:
        group: the processes.
        model: the model.
        metrics_are_local: whether each process counts its own samples alone.
    """

    def __init__(self, group: Group, model: Any, *, metrics_are_local: bool) -> None:
        self._group, self._model, self._metrics_are_local = group, model, metrics_are_local

    def slowest(self, seconds: float) -> float:
        """Return the longest of the times that the processes took, so that all do as many steps in the next call."""
        return float(self._group.gather(np.array(seconds)).max())

    def add_up_metrics(self) -> None:
        """Give the metrics of every process what all have counted since they were reset."""
        if self._metrics_are_local:
            variables = list({id(one): one for one in self._model.metrics_variables}.values())
            sums = self._group.total([_value(one) for one in variables])
            for variable, value in zip(variables, sums, strict=True):
                variable.assign(value)

    def check_state(self) -> None:
        """Check that weights, states and optimizer are the same everywhere.

        Raises:
            DistributedError: They are not: something changed them in one process alone.
        """
        variables = [variable for group in keras_hooks.variable_lists(self._model) for variable in group]
        rows = self._group.gather(np.array([_summary(_value(variable)) for variable in variables]))
        differs = np.abs(rows - rows[0]) > _SAME * (np.abs(rows[0]) + rows[0, :, 1:] + 1e-6)
        differs |= np.isnan(rows) != np.isnan(rows[0])
        if differs.any():
            rank, which, _ = np.argwhere(differs)[0]
            raise DistributedError(
                f"{variables[which].path} is no longer the same in process 0 and process {rank}: a callback or a layer "
                "changes it in each process by itself; let all do the same, or leave it out"
            )

    def check_stop(self) -> None:
        """Check that all processes want to go on, or none.

        Raises:
            DistributedError: Some want to stop.
        """
        stops = self._group.gather(np.array(bool(self._model.stop_training)))
        if stops.any() != stops.all():
            raise DistributedError(
                f"a callback stops process {int(np.argmax(stops))} alone; decide by the logs, which are the same in all"
            )


def _value(variable: Any) -> npt.NDArray[Any]:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable.value))


def _summary(value: npt.NDArray[Any]) -> tuple[float, float]:
    """Return two numbers that tell one array from another, the second of them its size."""
    flat = value.astype("float64").reshape(-1)
    places = np.cos(np.arange(flat.size))  # another one for each place, so that swapped elements count
    return float(flat @ places), float(np.abs(flat).sum())
