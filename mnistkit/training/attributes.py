"""What a step reads from Python: attributes, what functions read around them, and random generators outside Keras.

``model.fit`` runs this Python code in every step (PyTorch) or whenever it traces (JAX, TensorFlow); the trainer runs it
once for each program. So a program counts only as long as the attributes are the same, and code that changes an
attribute or draws a number goes to ``model.fit``.
"""

from __future__ import annotations

import operator
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.training.captured import PLAIN, Captured, captured_by, captured_by_method
from mnistkit.training.keras_hooks import compiled_parts, flatten_layers
from mnistkit.training.own_steps import own_methods

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_RUNS = {
    *("compiled", "history", "stop_evaluating", "stop_predicting", "stop_training"),
    *("predict_function", "test_function", "train_function"),
}
"""Attributes of a model that Keras changes while it trains."""
_METHODS = ("call", "compute_loss", "update_state", "train_step")


class PythonState:
    """Numbers and text in attributes that are not Keras' own, and the states of random generators, as they are now.

    Args:
        model: the model.
        tensors: note tensors too, which a step may replace.
    """

    def __init__(self, model: Any, *, tensors: bool) -> None:
        self._tensors = tensors
        things = [*flatten_layers(model), *_metrics_and_losses(model)]
        own = [thing for thing in things if type(thing).__module__.split(".")[0] not in ("keras", "builtins")]
        self._before = [(thing, dict(vars(thing))) for thing in own]
        self._model = model
        self._captured = _captured(model)
        generators = {
            f"{type(thing).__name__}.{name}": value
            for thing, before in self._before
            for name, value in before.items()
            if isinstance(value, np.random.Generator)
        }
        self._random: list[tuple[str, Any, Callable[[], Any], Callable[[Any], None]]] = [
            ("Python's random generator", random.getstate(), random.getstate, random.setstate),
            ("NumPy's random generator", _numpy_state(), _numpy_state, np.random.set_state),
            *((name, one.bit_generator.state, *_accessors(one)) for name, one in generators.items()),
        ]

    def changed(self) -> str | None:
        """Return the name of something that is no longer as it was, or None."""
        for thing, before in self._before:
            for name, new in vars(thing).items():
                if self._differs(before.get(name), new):
                    return f"{type(thing).__name__}.{name}"
        now_captured = {(one.owner, one.name): one.value for one in _captured(self._model)}
        for one in self._captured:
            if not _is_same(one.value, now_captured.get((one.owner, one.name))):
                return one.name
        return next((name for name, before, now, _ in self._random if not _same_state(before, now())), None)

    def restore(self) -> None:
        """Put back what has changed."""
        for thing, before in self._before:
            now = vars(thing)
            for name in [*now]:
                if not self._differs(before.get(name), now[name]):
                    continue
                if name in before:
                    now[name] = before[name]
                else:
                    del now[name]
        for one in self._captured:
            one.put(one.value)
        for _, before, _, put_back in self._random:
            put_back(before)

    def _differs(self, old: Any, new: Any) -> bool:
        import keras

        if isinstance(old, PLAIN) and isinstance(new, PLAIN):
            return not _is_same(old, new)
        if not self._tensors or old is new:
            return False
        kinds = [isinstance(one, PLAIN) or keras.ops.is_tensor(one) for one in (old, new)]
        return all(kinds)


def settings(model: Any) -> list[Any]:
    """List the attributes that the layers, metrics, losses and optimizers of a model have now, Keras' own included.

    These are numbers, text and functions, and the numbers of regularizers, constraints and the like.
    """
    things = _with_settings(model)[1:]
    of_model = {name: value for name, value in _settings_of(model).items() if isinstance(value, PLAIN)}
    found: list[Any] = [{name: value for name, value in of_model.items() if name not in _OF_RUNS}]
    for thing in things:
        own = _settings_of(thing)
        for name, value in vars(thing).items():
            if _has_numbers(value):
                own.update({f"{name}.{inner}": part for inner, part in _settings_of(value).items()})
        found.append(own)
    return [*found, {(one.owner, one.name): one.value for one in _captured(model)}]


class Look:
    """A look at a model that is fast enough to be repeated after every step.

    It may take a model for changed that means the same as before, but not the other way round.

    Args:
        model: the model.
        of_settings: look at the attributes too that ``settings`` lists.
    """

    def __init__(self, model: Any, *, of_settings: bool) -> None:
        self._model = model
        self._parts = compiled_parts(model)
        self._variables = [(variable, variable.trainable) for variable in model.variables]
        things = _with_settings(model) if of_settings else []
        things += [part for thing in things for part in vars(thing).values() if _has_numbers(part)]
        self._attributes = [(vars(thing), [*vars(thing).values()]) for thing in things]
        self._captured = of_settings and bool(_captured(model))

    def finds_the_same(self) -> bool:
        """Look again."""
        if self._captured or not all(map(operator.is_, self._parts, compiled_parts(self._model))):
            return False
        variables = self._model.variables
        if len(variables) != len(self._variables) or not all(
            one is two and one.trainable == flag for one, (two, flag) in zip(variables, self._variables, strict=True)
        ):
            return False
        return all(
            len(now) == len(before) and all(map(operator.is_, now.values(), before)) for now, before in self._attributes
        )


def _with_settings(model: Any) -> list[Any]:
    optimizers = [model.optimizer, getattr(model.optimizer, "inner_optimizer", None)]
    return [*flatten_layers(model), *_metrics_and_losses(model), *(one for one in optimizers if one is not None)]


def _has_numbers(value: Any) -> bool:
    """Tell whether an attribute is a regularizer, a constraint or the like, with attributes of its own."""
    return hasattr(value, "get_config") and hasattr(value, "__dict__") and not hasattr(value, "variables")


def _captured(model: Any) -> list[Captured]:
    """What the functions of a model read from Python around them: losses, metrics, and what its own classes do."""
    import keras

    functions = [one for one in keras.tree.flatten(model.loss) if callable(one)]
    for thing in [*flatten_layers(model), *_metrics_and_losses(model)]:
        functions += [value for name, value in vars(thing).items() if not name.startswith("_") and callable(value)]
        functions += [getattr(type(thing), name) for name in _METHODS if hasattr(type(thing), name)]
    own = own_methods(model)
    of_steps = [one for name in own for one in captured_by_method(model, name)]
    return [*captured_by(functions), *of_steps]


def _settings_of(thing: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(thing).items()
        if (name == "_trainable" or not name.startswith("_"))
        and name not in ("training", "built")
        and (isinstance(value, PLAIN) or callable(value))
    }


def _metrics_and_losses(model: Any) -> list[Any]:
    import keras

    metrics = [one for metric in model.metrics for one in (metric, *getattr(metric, "metrics", ()))]  # compile() wraps
    return [thing for thing in [*metrics, *keras.tree.flatten(model.loss)] if hasattr(thing, "__dict__")]


def _numpy_state() -> Any:
    return np.random.get_state(legacy=False)  # noqa: NPY002 - the generator that a layer may draw from


def _accessors(generator: np.random.Generator) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def put_back(state: Any) -> None:
        generator.bit_generator.state = state

    return lambda: generator.bit_generator.state, put_back


def _same_state(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(_same_state(one[key], two[key]) for key in one)
    return bool(np.array_equal(one, two)) if isinstance(one, np.ndarray) else bool(one == two)


def _is_same(old: Any, new: Any) -> bool:
    return type(old) is type(new) and (old == new or old != old)  # noqa: PLR0124 - NaN is NaN
