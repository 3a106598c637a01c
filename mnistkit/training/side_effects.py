"""What Python code does beside computing with tensors, as far as its names tell: printing, reading a clock, counting.

``model.fit`` runs the code of a train step in every step under PyTorch; the trainer runs it once for each program.
"""

from __future__ import annotations

import builtins
import dis
import inspect
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from mnistkit.training.captured import is_librarys, methods_of, names_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType

_ACTING = frozenset({"print", "open", "input", "exec", "eval", "breakpoint", "next", "getattr", "setattr", "delattr"})
_LIBRARIES = frozenset({"einops", "keras", "keras_hub", "numpy", "torch", "jax", "tensorflow", "mnistkit"})
_PURE = frozenset(
    {"__future__", "abc", "builtins", "collections", "contextlib", "dataclasses", "enum", "functools", "math"}
    | {"numbers", "operator", "types", "typing", "warnings"}
)
_OF_LIBRARIES = ("torch.optim", "torch.utils.tensorboard", "numpy.random")  # what keeps something from step to step
_MUTABLE = (set, bytearray, deque)
_DEPTH = 6  # functions called by functions


def side_effect(model: Any, methods: Iterable[str]) -> str | None:
    """Return why the code of a model's methods may do more than compute, in a few words, or None.

    Args:
        model: the model.
        methods: names of its methods; those of a library are not looked at.
    """
    walk = _Walk()
    for name in methods:
        for method in methods_of(type(model), name):
            for found in walk.function(method, model, _DEPTH):
                return f"its {name} {found}"
    return None


class _Walk:
    """Goes through functions of the user's and those that they call; yields what stands against tracing them."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def function(self, function: Any, owner: Any, depth: int) -> Iterator[str]:
        function = inspect.unwrap(getattr(function, "__func__", function))
        code = getattr(function, "__code__", None)
        if code is None or id(function) in self._seen or is_librarys(getattr(function, "__module__", None)):
            return
        self._seen.add(id(function))
        for kind, name in _outside(code):
            if kind == "import":
                yield from _of_module(name)
            elif kind == "set":
                yield f"sets the variable {name} outside itself"
            elif name in function.__globals__:
                yield from self._value(name, function.__globals__[name], code, depth)
            elif name in _ACTING and hasattr(builtins, name):
                yield f"calls {name}"
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            if value is not owner:
                yield from self._value(name, value, code, depth)
        if owner is not None:
            yield from self._object(owner, code, depth)

    def _object(self, thing: Any, code: CodeType, depth: int) -> Iterator[str]:
        """Look at what a method uses of its object."""
        attributes = getattr(thing, "__dict__", {})
        for name in names_in(code):
            if name in attributes:
                yield from self._value(f"self.{name}", attributes[name], code, depth)
                continue
            for method in methods_of(type(thing), name) if depth else ():
                yield from self.function(method, thing, depth - 1)

    def _value(self, name: str, value: Any, code: CodeType, depth: int) -> Iterator[str]:
        """Look at something that code uses under a name."""
        if inspect.ismodule(value):
            yield from _of_module(value.__name__, value)
            if depth and not _is_installed(value):
                for attribute in names_in(code):
                    if inspect.isfunction(getattr(value, attribute, None)):
                        yield from self.function(getattr(value, attribute), None, depth - 1)
            return
        if isinstance(value, _MUTABLE):
            yield f"uses {name}, which it may change"
            return
        named = value if inspect.isroutine(value) or inspect.isclass(value) else type(value)
        module = getattr(named, "__module__", None) or "builtins"
        if module.startswith(_OF_LIBRARIES):
            yield f"uses {name} of {module}, which may keep something from step to step"
        yield from _of_module(module, sys.modules.get(module), what=name)
        if inspect.isfunction(value) and depth:
            yield from self.function(value, None, depth - 1)
        elif not inspect.isclass(value) and not _is_known(module) and depth and value is not None:
            yield from self._object(value, code, depth - 1)


def _outside(code: CodeType) -> Iterator[tuple[str, str]]:
    """Yield how code, and the functions in it, reach outside: ("get", name), ("set", name) or ("import", name)."""
    for one in dis.get_instructions(code):
        if one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield "get", one.argval
        elif one.opname == "STORE_GLOBAL" or (one.opname == "STORE_DEREF" and one.argval in code.co_freevars):
            yield "set", one.argval
        elif one.opname == "IMPORT_NAME":
            yield "import", one.argval
    for part in code.co_consts:
        if inspect.iscode(part):
            yield from ((kind, name) for kind, name in _outside(part) if name not in code.co_cellvars)


def _of_module(module: str, loaded: Any = None, *, what: str = "") -> Iterator[str]:
    """Yield what stands against a module whose code does other things than compute."""
    root = module.partition(".")[0]
    if _is_known(module) or not (root in sys.stdlib_module_names or _is_installed(loaded)):
        return
    yield f"uses {what}, which is of the module {root}" if what else f"uses the module {root}"


def _is_known(module: str) -> bool:
    root = module.partition(".")[0].lstrip("_")
    return root in _PURE or root in _LIBRARIES or module.partition(".")[0] in _PURE


def _is_installed(module: Any) -> bool:
    """Tell whether a module is a package that was installed, not code of the user's."""
    path = getattr(module, "__file__", None) or ""
    return any(part in path for part in ("site-packages", "dist-packages"))
