"""What functions read from Python around them: variables of a closure or a module, and attributes of objects there.

``loss=lambda y, p: mse(y, p) + box.weight * penalty(p)`` reads ``box.weight``. Only numbers, text, and lists and
dictionaries of them are looked at, since those are what a program has as constants. A method reads also what its
object has: ``self.settings["kl"]``, ``self.schedule.value``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType

PLAIN = (bool, int, float, str, type(None))
_LIBRARIES = frozenset({"keras", "keras_hub", "numpy", "torch", "jax", "tensorflow", "builtins", "math", "functools"})
_MOST = 100  # elements of a container that are looked at
_DEPTH = 3  # functions called by functions


class Captured(NamedTuple):
    """A value that a function reads.

    Attributes:
        owner: Of the function, which tells equal names apart.
        name: How the function reads it, as ``box.weight`` or ``weights['kl']``.
        value: The number or text as it is now.
        put: Sets it.
    """

    owner: int
    name: str
    value: Any
    put: Callable[[Any], None]


def captured_by(functions: Iterable[Any]) -> list[Captured]:
    """Every plain value that functions of the user's read from outside themselves; nothing for a library's own."""
    walk = _Walk()
    return [one for function in functions for one in walk.function(function, _DEPTH)]


def captured_by_method(thing: Any, name: str) -> list[Captured]:
    """Every plain value that a method of an object reads; nothing for a library's own methods."""
    walk = _Walk()
    return [one for method in methods_of(type(thing), name) for one in walk.function(method, _DEPTH, thing)]


class _Walk:
    def __init__(self) -> None:
        self._seen: set[int] = set()

    def function(self, function: Any, depth: int, owner: Any = None) -> Iterator[Captured]:
        if isinstance(function, functools.partial):
            yield from self.function(function.func, depth)
            return
        function = inspect.unwrap(getattr(function, "__func__", function))
        code = getattr(function, "__code__", None)
        if code is None or id(function) in self._seen or is_librarys(getattr(function, "__module__", None)):
            return
        self._seen.add(id(function))
        names = names_in(code)
        if owner is not None:
            yield from self._object(owner, names, depth)
        outside: dict[str, tuple[Any, Callable[[Any], None]]] = {}
        space = function.__globals__
        for name in names:
            if name in space:
                outside[name] = (space[name], functools.partial(space.__setitem__, name))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not yet filled
                outside[name] = (cell.cell_contents, functools.partial(setattr, cell, "cell_contents"))
        for name, (value, put) in outside.items():
            if inspect.isroutine(value):
                if depth:
                    yield from self.function(value, depth - 1)
            else:
                yield from (Captured(id(function), *found) for found in _of_value(name, value, put, names))

    def _object(self, thing: Any, names: list[str], depth: int) -> Iterator[Captured]:
        """Look at the attributes of an object that its methods name, and into the methods themselves."""
        attributes, kind = vars(thing), type(thing)
        for name in names:
            if name not in attributes:
                for method in methods_of(kind, name) if depth else ():
                    yield from self.function(method, depth - 1, thing)
                continue
            value = attributes[name]
            put = functools.partial(attributes.__setitem__, name)
            yield from (Captured(id(thing), *one) for one in _of_value(f"{kind.__name__}.{name}", value, put, names))
            if (
                depth
                and hasattr(value, "__dict__")
                and not (inspect.isclass(value) or is_librarys(type(value).__module__))
            ):
                yield from self._object(value, names, depth - 1)


def _of_value(
    name: str, value: Any, put: Callable[[Any], None], names: list[str]
) -> Iterator[tuple[str, Any, Callable[[Any], None]]]:
    if isinstance(value, PLAIN):
        yield name, value, put
    elif isinstance(value, (list, dict)):
        pairs = enumerate(value) if isinstance(value, list) else value.items()
        for key, part in itertools.islice(pairs, _MOST):
            if isinstance(part, PLAIN):
                yield f"{name}[{key!r}]", part, functools.partial(value.__setitem__, key)
        yield f"len({name})", len(value), functools.partial(_fill_again, value, value.copy())
    elif not (inspect.ismodule(value) or is_librarys(type(value).__module__)):
        for attribute in names:
            part = inspect.getattr_static(value, attribute, inspect)  # without running properties
            if isinstance(part, PLAIN):
                yield f"{name}.{attribute}", part, functools.partial(setattr, value, attribute)


def methods_of(kind: Any, name: str) -> list[Any]:
    """Return the functions behind a method or property, those of the base classes too: it may call them."""
    found = [vars(cls)[name] for cls in kind.__mro__ if name in vars(cls)]
    plain = [getattr(one, "fget", None) or getattr(one, "__func__", one) for one in found]
    return [one for one in plain if inspect.isfunction(one)]


def _fill_again(container: Any, content: Any, _: int) -> None:
    container.clear()
    (container.update if isinstance(container, dict) else container.extend)(content)


def names_in(code: CodeType) -> list[str]:
    """Names of a function's code and of the functions inside it."""
    inner = [name for part in code.co_consts if inspect.iscode(part) for name in names_in(part)]
    return [*dict.fromkeys([*code.co_names, *inner])]


def is_librarys(module: str | None) -> bool:
    """Tell whether a module belongs to a library that computes."""
    return module is None or module.partition(".")[0] in _LIBRARIES
