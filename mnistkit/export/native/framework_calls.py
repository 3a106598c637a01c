"""Layers that call their framework past ``keras.ops``: ``torch.where(...)``, ``x.permute(...)``, ``jnp.sum(...)``.

Symbolic tensors cannot go into a framework. A layer whose call fails for that reason is called once more, and now the
framework's functions, given symbolic tensors, do the same with ``keras.ops``: :mod:`.frameworks` has a table for each
framework. PyTorch asks its arguments what to do (``__torch_function__``); the functions of JAX and TensorFlow are
replaced in this thread. What is in no table is refused, with the line of the call and what to write instead.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import linecache
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import keras
from keras import KerasTensor

from mnistkit.core.thread_patches import Action, Patch
from mnistkit.export.native.current_trace import TRACING
from mnistkit.export.native.frameworks import jax_functions, tensorflow_functions, torch_functions
from mnistkit.export.native.frameworks.common import Functions
from mnistkit.export.native.keras_hooks import is_own
from mnistkit.export.native.symbolic_dim import SymbolicDim

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from mnistkit.export.native.current_trace import ActiveTracer

_METHODS: dict[str, Functions] = {
    "torch": {**torch_functions.FUNCTIONS, **torch_functions.METHODS},
    "jax": {**jax_functions.FUNCTIONS, **jax_functions.METHODS},
    "tensorflow": {},
}
_ATTRIBUTES: dict[str, dict[str, Callable[[Any], Any]]] = {
    "torch": {"T": keras.ops.transpose, "mT": lambda x: keras.ops.swapaxes(x, -1, -2), "device": lambda _: _device()},
    "jax": {"T": keras.ops.transpose, "mT": lambda x: keras.ops.swapaxes(x, -1, -2)},
    "tensorflow": {},
}
_TF_MODULES = ("tensorflow", "tensorflow.math", "tensorflow.nn", "tensorflow.linalg", "tensorflow.image")
_WITHOUT_MEANING = {"inplace", "name", "_stacklevel", "device", "requires_grad", "pin_memory"}
"""Arguments that change nothing about the answer."""


def may_call_framework(layer: Any) -> bool:
    """Say whether code that is not Keras' own runs in a layer's call: a class or a function of a user."""
    if isinstance(layer, keras.layers.TorchModuleWrapper) or not is_own(type(layer)):
        return True
    return any(_is_foreign(value) for value in vars(layer).values())


def _is_foreign(value: Any) -> bool:
    """Say whether something is a function that Keras does not have."""
    if isinstance(value, (type, keras.Operation)) or not callable(value):
        return False
    return not str(getattr(value, "__module__", None) or "").startswith(("keras.", "mnistkit."))


# -- calls ------------------------------------------------------------------------------------------------------------


def torch_function(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do what PyTorch's function of a name does with ``keras.ops``; ``NotImplemented`` when it is in no table."""
    function = _METHODS["torch"].get(name)
    if function is None:
        return NotImplemented
    return function(*args, **_meaningful(kwargs))


def attribute_of(tensor: Any, name: str) -> Any:
    """Return what a tensor of the framework has under a name and a symbolic one has not.

    Raises:
        AttributeError: It is in no table.
    """
    backend = str(keras.config.backend())
    attribute = _ATTRIBUTES.get(backend, {}).get(name)
    if attribute is not None:
        return attribute(tensor)
    method = _METHODS.get(backend, {}).get(name)
    if method is None:
        raise AttributeError(f"a symbolic tensor has no attribute {name!r}", name=name, obj=tensor)
    return lambda *args, **kwargs: method(tensor, *args, **_meaningful(kwargs))


def framework_patches() -> Iterator[Patch]:
    """Return the replacements for the functions of the framework that is in use."""
    backend = keras.config.backend()
    if backend == "torch":
        yield from _module_patches("torch", torch_functions.OF_SIZES)
    elif backend == "jax":
        for module in ("jax.numpy", "jax.nn"):
            yield from _module_patches(module, {**jax_functions.FUNCTIONS, **jax_functions.OF_SIZES})
        yield from _module_patches("jax.lax", jax_functions.OF_LAX)
        yield from _module_patches("jax.random", jax_functions.RANDOM)
        ufunc = importlib.import_module("jax.numpy").ufunc
        yield Patch(ufunc, "__call__", _call_ufunc)
    elif backend == "tensorflow":
        for module in _TF_MODULES:
            yield from _module_patches(module, {**tensorflow_functions.FUNCTIONS, **tensorflow_functions.OF_SIZES})
        yield from _module_patches("tensorflow.random", tensorflow_functions.RANDOM)


@contextlib.contextmanager
def given_functions_followed(layer: Any) -> Iterator[None]:
    """Follow the functions of a framework that a layer was given, as its activation, for one call in this thread."""
    given = {name: value for name, value in vars(layer).items() if _is_foreign(value)}
    functions = {name: _table_of(value).get(str(getattr(value, "__name__", ""))) for name, value in given.items()}
    known = {name: function for name, function in functions.items() if function is not None}
    try:
        for name, function in known.items():
            vars(layer)[name] = _in_this_thread(given[name], _when_symbolic(function))
        yield
    finally:
        vars(layer).update({name: given[name] for name in known})


def _table_of(function: Any) -> Functions:
    module = str(getattr(function, "__module__", None) or "")
    if module.startswith("jax._src.lax"):
        return jax_functions.OF_LAX
    tables = {"jax": jax_functions.FUNCTIONS, "tensorflow": tensorflow_functions.FUNCTIONS}
    return tables.get(module.partition(".")[0], {})


def _in_this_thread(original: Any, action: Action) -> Any:
    @functools.wraps(original)
    def function(*args: Any, **kwargs: Any) -> Any:
        tracer = TRACING.active
        return original(*args, **kwargs) if tracer is None else action(tracer, original, args, kwargs)

    return function


def _module_patches(name: str, functions: Functions) -> Iterator[Patch]:
    module = functools.reduce(getattr, name.split(".")[1:], importlib.import_module(name.partition(".")[0]))
    for own, function in functions.items():
        original = vars(module).get(own)
        if callable(original) and not isinstance(original, type) and type(original).__name__ != "ufunc":
            yield Patch(module, own, _when_symbolic(function))


def _when_symbolic(function: Callable[..., Any]) -> Action:
    def action(tracer: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if tracer.follows_framework and _has_symbols((*args, *kwargs.values())):
            return function(*args, **_meaningful(kwargs))
        return original(*args, **kwargs)

    return action


def _call_ufunc(tracer: ActiveTracer, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``jnp.add(x, y)`` and its like, which are objects of one class."""
    function = jax_functions.FUNCTIONS.get(str(getattr(args[0], "__name__", "")))
    if function is not None and tracer.follows_framework and _has_symbols((*args[1:], *kwargs.values())):
        return function(*args[1:], **kwargs)
    return original(*args, **kwargs)


def _meaningful(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in kwargs.items()
        if key not in _WITHOUT_MEANING and not (key == "out" and value is None)
    }


def _has_symbols(values: tuple[Any, ...] | list[Any]) -> bool:
    for value in values:
        if type(value) is SymbolicDim or isinstance(value, KerasTensor):
            return True
        if isinstance(value, (list, tuple)) and _has_symbols(value):
            return True
    return False


def _device() -> Any:
    return importlib.import_module("torch").device("cpu")


# -- what cannot be followed ------------------------------------------------------------------------------------------

_LIBRARIES = {
    "jax", "jaxlib", "keras", "mnistkit", "numpy", "optree", "tensorflow", "torch",
}  # fmt: skip
_FRAMEWORKS = {"jax", "numpy", "tensorflow", "torch"}
_ESCAPES = re.compile(r"\x1b\[\d*m")
_DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+(?=\s*\()")

_CURES = {
    **{f"reduce_{name}": name for name in ("all", "any", "logsumexp", "max", "mean", "min", "prod", "std", "sum")},
    "acos": "arccos", "asin": "arcsin", "atan": "arctan", "atan2": "arctan2", "bmm": "matmul", "cat": "concatenate",
    "chunk": "split", "clamp": "clip", "clip_by_value": "clip", "concat": "concatenate", "dynamic_slice": "slice",
    "dynamic_update_slice": "slice_update", "eq": "equal", "fill": "full", "floormod": "mod",
    "gather": "take", "gather_nd": "take", "ge": "greater_equal", "gt": "greater", "index_select": "take",
    "interpolate": "image.resize", "inv": "linalg.inv", "l2_normalize": "normalize", "le": "less_equal", "lt": "less",
    "map_fn": "map", "masked_fill": "where", "mm": "matmul", "mul": "multiply", "ne": "not_equal", "neg": "negative",
    "permute": "transpose", "pow": "power", "range": "arange", "reduce_variance": "var", "resize": "image.resize",
    "reverse": "flip", "scatter_nd": "scatter", "sub": "subtract", "tensor_scatter_nd_update": "scatter_update",
    "topk": "top_k", "unbind": "unstack", "unsqueeze": "expand_dims", "view": "reshape", "vmap": "vectorized_map",
}  # fmt: skip
"""Names of frameworks for what ``keras.ops`` calls otherwise."""


def explain(error: BaseException, layer: Any = None) -> str | None:
    """Say which call of a framework a layer failed in, and what to write instead; None when it is none.

    Args:
        error: What the layer's call raised.
        layer: The layer; a function that it was given may be the framework's own.
    """
    if isinstance(error, AttributeError) and isinstance(error.obj, KerasTensor) and error.name is not None:
        frame = _last_frame(error)
        place = "" if frame is None else f" ({PurePath(frame[0].f_code.co_filename).name}, line {frame[2]})"
        return f"a symbolic tensor has no attribute {error.name!r}{place}{_cure(error.name)}"
    found = _failing_call(error)
    if found is not None:
        name, place = found
    else:
        given = [value for value in vars(layer).values() if _is_foreign(value)] if layer is not None else []
        names = [f"{value.__module__ or 'torch'}.{value.__name__}" for value in given if hasattr(value, "__name__")]
        names = [name for name in names if name.partition(".")[0] in _FRAMEWORKS]
        if not names:
            return None
        name, place = names[0], "given to the layer"
    return f"{name} ({place}) takes no symbolic tensor{_cure(name)}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text that says something; Keras puts one with the layer before it."""
    lines = [_ESCAPES.sub("", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered when calling")]
    return told[0] if told else ""


def _cure(name: str) -> str:
    last = name.rpartition(".")[2]
    cure = _CURES.get(last, last)
    if functools.reduce(lambda owner, part: getattr(owner, part, None), cure.split("."), keras.ops) is None:
        return ", and keras.ops has no function of that name; write it with functions of keras.ops"
    return f"; write keras.ops.{cure} instead"


def _failing_call(error: BaseException) -> tuple[str, str] | None:
    """Return the full name of the framework's function in the last line that is no library's, and where that is."""
    last = _last_frame(error)
    if last is None:
        return None
    frame, instruction, line = last
    for written in _DOTTED.findall(_source(frame.f_code, instruction, line)):
        name = _full_name(frame, written)
        if name is not None:
            return name, f"{PurePath(frame.f_code.co_filename).name}, line {line}"
    return None


def _last_frame(error: BaseException) -> tuple[FrameType, int, int] | None:
    """Return the last frame that is no library's, with the instruction and the line that it was at."""
    last = None
    step = error.__traceback__
    while step is not None:
        if str(step.tb_frame.f_globals.get("__name__", "")).partition(".")[0] not in _LIBRARIES:
            last = (step.tb_frame, step.tb_lasti, step.tb_lineno)
        step = step.tb_next
    return last


def _source(code: CodeType, instruction: int, line: int) -> str:
    """Return the part of a line (or of several) that an instruction was made of."""
    first, last, start, end = list(code.co_positions())[instruction // 2]
    if first is None or last is None or start is None or end is None:
        return linecache.getline(code.co_filename, line)
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    if not lines or not lines[-1]:
        return ""
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    return b"".join(lines).decode(errors="replace")


def _full_name(frame: FrameType, written: str) -> str | None:
    root, *rest = written.split(".")
    value = frame.f_locals.get(root, frame.f_globals.get(root))
    if not isinstance(value, types.ModuleType):
        return None
    name = ".".join([value.__name__, *rest])
    return name if name.partition(".")[0] in _FRAMEWORKS and value.__name__ in sys.modules else None
