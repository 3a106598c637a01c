"""Models with a ``train_step``, ``test_step`` or ``compute_metrics`` of their own.

Their steps are traced as Keras' own are. Three things are different. Such a step gets its batch as ``model.fit`` packs
it; what it returns need not be the model's metrics, so the programs return it; and it may use optimizers and gradients
that Keras' own step does not know of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.training.batch_hooks import results
from mnistkit.training.pytree import Arrays, tree_map

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_KIND = {True: "train_step", False: "test_step"}
_OF_BOTH = "compute_metrics"


def overrides(model: Any, name: str) -> bool:
    """Tell whether a model has a method of its own in the place of one of ``keras.Model``."""
    import keras

    return name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name)


def own_methods(model: Any) -> list[str]:
    """Return the names of the steps that are a model's own."""
    return [name for name in (*_OF_KIND.values(), _OF_BOTH) if overrides(model, name)]


def returns_logs(model: Any, *, training: bool) -> bool:
    """Tell whether what a step returns may be something else than the model's metrics."""
    return any(overrides(model, name) for name in (_OF_KIND[training], _OF_BOTH))


def packed(data: Arrays | None) -> Arrays | None:
    """Return arrays as ``model.fit`` packs them: ``x``, ``(x, y)`` or ``(x, y, sample_weight)``."""
    import keras

    return None if data is None else Arrays(keras.utils.pack_x_y_sample_weight(*data.tree), data.n)


def checked(logs: Any) -> Any:
    """Return what a step returned, if it is a dictionary, as ``model.fit`` needs it."""
    if not isinstance(logs, dict):
        raise TypeError(f"a step returns {type(logs).__name__}, not a dictionary")
    return logs


def step_results(model: Any, logs: Any) -> dict[str, Any]:
    """Return what batch hooks get after a step.

    Args:
        model: the model.
        logs: what the step returned, None where that is the model's metrics.
    """
    return results(model) if logs is None else _numbers(logs)


def epoch_results(model: Any, logs: Any) -> dict[str, Any]:
    """Return the values of an epoch: of the model's metrics, or of the last step where that names other values.

    Args:
        model: the model.
        logs: what the last step returned, None where that is the model's metrics.
    """
    if logs is None or logs.keys() == model.get_metrics_result().keys():
        return results(model)
    return _numbers(logs)


def optimizers_of(model: Any) -> list[Any]:
    """Return the optimizers in the attributes of a model, its own first."""
    import keras

    found = [model.optimizer, *_values(vars(model))]
    return list({id(one): one for one in found if isinstance(one, keras.optimizers.Optimizer)}.values())


def _values(attributes: dict[str, Any]) -> Iterator[Any]:
    for value in attributes.values():
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list | tuple):
            yield from value
        else:
            yield value


def _numbers(logs: Any) -> dict[str, Any]:
    """Copy values to NumPy: a program uses their memory again."""
    import keras

    numbers: dict[str, Any] = tree_map(
        lambda one: np.array(keras.ops.convert_to_numpy(one)) if keras.ops.is_tensor(one) else one, logs
    )
    return numbers
