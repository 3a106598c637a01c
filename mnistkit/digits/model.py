"""The models that `mnistkit.train` builds, the same weights on every backend.

Initial weights come from a NumPy generator and not from the backend's own, whose streams differ: this is what lets
three backends start equal.
"""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.keras_backend import load_keras
from mnistkit.digits.contract import CLASSES, SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INPUT_SIZE = SIDE * SIDE


def build_model(
    name: str = "mlp", *, hidden: int | Sequence[int] = 32, activation: str = "relu", seed: int = 1337
) -> Any:
    """Build one of the named models, uncompiled, with seeded weights.

    Args:
        name: ``"mlp"``, the tutorial's: 784 → Dense(hidden) → relu → Dense(10) → softmax; or ``"cnn"``, a small
            convolutional net for real use.
        hidden: Width of the MLP's hidden layer, or the widths of several, from the input on.
        activation: Name of a Keras activation, for the MLP's hidden layers.
        seed: Seed of the initial weights; the same on every backend.

    Returns:
        A ``keras.Model`` from ``image`` float32 ``[batch, 784]`` in [0, 1] to ``probabilities`` float32
        ``[batch, 10]``.

    Raises:
        InputError: A name is unknown or a width is not positive.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}; use one of {', '.join(sorted(MODELS))}")
    widths = (hidden,) if isinstance(hidden, int) else tuple(hidden)
    if min(widths, default=0) < 1:
        raise InputError(f"hidden must be at least 1, got {', '.join(map(str, widths)) or 'nothing'}")
    model = MODELS[name](widths, activation)
    seed_weights(model, seed)
    return model


def seed_weights(model: Any, seed: int) -> None:
    """Redraw every kernel of a built model from a NumPy generator, Glorot-uniform as Keras' default.

    Vectors (biases, scales, moving averages) start from constants on every backend and are left alone.
    Source: Glorot and Bengio 2010, limit = sqrt(6 / (fan_in + fan_out)).
    """
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        if len(variable.shape) >= 2:  # noqa: PLR2004  # a matrix or more: a kernel
            receptive = math.prod(variable.shape[:-2])
            limit = math.sqrt(6 / (receptive * (variable.shape[-2] + variable.shape[-1])))
            variable.assign(generator.uniform(-limit, limit, tuple(variable.shape)).astype(np.float32))


def _mlp(hidden: tuple[int, ...], activation: str) -> Any:
    keras = load_keras()
    _check_activation(activation)
    return keras.Sequential(
        [
            keras.layers.Input(shape=(INPUT_SIZE,), name="image"),
            *(
                keras.layers.Dense(width, activation=activation, name="hidden" if place == 1 else f"hidden_{place}")
                for place, width in enumerate(hidden, 1)
            ),
            keras.layers.Dense(CLASSES, activation="softmax", name="probabilities"),
        ],
        name="mlp",
    )


def _check_activation(name: str) -> None:
    keras = load_keras()
    try:
        parameters = list(inspect.signature(keras.activations.get(name)).parameters.values())
    except ValueError as error:
        raise InputError(f"unknown activation {name!r}; use one of Keras', such as relu or gelu") from error
    needed = [parameter.name for parameter in parameters[1:] if parameter.default is parameter.empty]
    if needed:
        raise InputError(f"the activation {name} needs {' and '.join(needed)}; use one that works by itself")


def _cnn(hidden: tuple[int, ...], activation: str) -> Any:
    """For real use: strides instead of large planes so that two CPU cores train it in minutes."""
    del hidden, activation
    keras = load_keras()
    layers = keras.layers

    def step(x: Any, filters: int, size: int, *, strides: int = 1) -> Any:
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        return layers.ReLU()(x)

    image = keras.Input((INPUT_SIZE,), name="image")
    x = layers.Reshape((SIDE, SIDE, 1))(image)
    x = step(x, 32, 5, strides=2)
    x = step(x, 32, 3)
    x = step(x, 64, 3, strides=2)
    x = step(x, 64, 3)
    x = layers.MaxPooling2D()(x)
    x = step(x, 96, 3)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.3, seed=0)(x)
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax", name="probabilities")(x), name="cnn")


MODELS: dict[str, Callable[[tuple[int, ...], str], Any]] = {"mlp": _mlp, "cnn": _cnn}
"""Builders by name; each takes the hidden widths and their activation, and may ignore them."""


def random_state(model: Any) -> list[list[int]]:
    """Where the random layers of a model are in their sequences; a ``.keras`` file does not keep it."""
    keras = load_keras()
    return [keras.ops.convert_to_numpy(variable.value).tolist() for variable in _seed_variables(model)]


def restore_random_state(model: Any, state: list[list[int]]) -> None:
    """Let the random layers go on from what `random_state` gave.

    Raises:
        ModelFileError: It is the state of another model.
    """
    variables = _seed_variables(model)
    if len(state) != len(variables):
        raise ModelFileError(f"the state of {len(state)} random layers was kept, the model has {len(variables)}")
    for variable, value in zip(variables, state, strict=True):
        variable.assign(value)


def _seed_variables(model: Any) -> list[Any]:
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]
