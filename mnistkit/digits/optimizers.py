"""The optimizer behind ``--optimizer``: any of Keras', with the tutorial's hyper-parameters where they apply."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, did_you_mean
from mnistkit.core.keras_backend import load_keras

if TYPE_CHECKING:
    from collections.abc import Mapping

TUTORIAL = {"rho": 0.9, "epsilon": 1e-8}
"""RMSprop's hyper-parameters in the tutorial; other optimizers start from Keras' own defaults."""


def make_optimizer(
    name: str, *, learning_rate: float, rho: float | None = None, epsilon: float | None = None, decay: float = 0.0
) -> Any:
    """Make a Keras optimizer.

    Args:
        name: Name of a Keras optimizer in any case, such as ``"rmsprop"`` or ``"AdamW"``.
        learning_rate: First learning rate, positive.
        rho: Decay of the moving average; only for optimizers that have it.
        epsilon: Small constant against division by zero; only for optimizers that have it.
        decay: Learning rate after n batches is ``learning_rate / (1 + decay * n)``, as in Keras 1 and 2.

    Raises:
        InputError: The name is unknown, a number is out of range, or the optimizer has no such hyper-parameter.
    """
    keras = load_keras()
    known = optimizer_classes()
    if name.lower() not in known:
        other = name.lower() in {key.lower() for key in vars(keras.optimizers)}
        what = "does not train a model by itself" if other else "is not one of Keras'"
        close = did_you_mean(name, known)
        raise InputError(f"unknown optimizer {name!r}: it {what}{close} (use one of {', '.join(sorted(known))})")
    cls = known[name.lower()]
    _check_range("learning rate", learning_rate, low=0, inclusive=False)
    _check_range("decay", decay, low=0, inclusive=True)
    accepted = inspect.signature(cls).parameters
    arguments: dict[str, Any] = {}
    for key, value in (("rho", rho), ("epsilon", epsilon)):
        if value is not None and key not in accepted:
            raise InputError(f"the optimizer {name} has no {key}; leave --{key} out")
        chosen = TUTORIAL[key] if value is None and cls is known["rmsprop"] else value
        if chosen is not None:
            _check_range(key, chosen, low=0, inclusive=True)
            arguments[key] = chosen
    rate: Any = learning_rate
    if decay:
        rate = keras.optimizers.schedules.InverseTimeDecay(learning_rate, decay_steps=1, decay_rate=decay)
    return cls(learning_rate=rate, **arguments)


def optimizer_classes() -> dict[str, type]:
    """Keras' optimizers by lower-case name, without the abstract ones and the wrappers around another optimizer."""
    keras = load_keras()
    base = keras.optimizers.Optimizer
    return {
        key.lower(): value
        for key, value in vars(keras.optimizers).items()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value is not base
        and _trains_alone(inspect.signature(value).parameters)
    }


def _trains_alone(parameters: Mapping[str, inspect.Parameter]) -> bool:
    """A wrapper takes another optimizer, or several, in the place of a learning rate."""
    return "learning_rate" in parameters and "inner_optimizer" not in parameters


def _check_range(what: str, value: float, *, low: float, inclusive: bool) -> None:
    if not (value > low or (inclusive and value == low)) or value == float("inf"):
        raise InputError(f"{what} must be {'at least' if inclusive else 'above'} {low}, got {value}")
