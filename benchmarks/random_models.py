"""Random functional models from the layers and operations that the native exporter covers, each from its seed.

`draw_model` starts from one to three inputs of drawn types and shapes (vectors, tokens, sequences, pictures, volumes;
fixed and free axes) and applies 2 to 12 nodes to them. A node that Keras refuses is drawn again. Whatever no other node
takes is an output.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import keras  # noqa: TID253 - after the backend is chosen
import numpy as np
from keras import layers, ops  # noqa: TID253

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_NUMBERS = 20_000  # in one row of a tensor, with free axes counted as 24
MOST_AXES = 5
TRIES = 60
ACTIVATIONS = (
    *(None, None, "relu", "tanh", "sigmoid", "gelu", "elu", "selu", "softplus", "silu", "hard_sigmoid", "leaky_relu"),
    *("relu6", "softsign", "exponential", "hard_silu", "mish", "celu", "log_sigmoid", "softmax", "hard_tanh"),
)


class NotApplicableError(Exception):
    """A node does not suit its tensor; another is drawn."""


@keras.saving.register_keras_serializable("export_fuzz")
class Apply(layers.Layer):
    """A function of several tensors as a layer, in which sizes are asked for while it runs."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(**options)
        self.function = function

    def call(self, inputs: Any) -> Any:
        """Return the function of the inputs."""
        return self.function(*inputs)


@dataclass
class Drawing:
    """A model being drawn.

    Attributes:
        seed: What it is drawn from.
        words: Its nodes, for the report.
        pool: Tensors that a node may take.
        used: Identities of those that a node took.
        layers: Layers made, to be shared.
        inputs: The model's inputs.
        policy: The dtype policy of the layers.
        depth: 1 inside a nested model.
    """

    seed: int
    words: list[str] = field(default_factory=list)
    pool: list[Any] = field(default_factory=list)
    used: set[int] = field(default_factory=set)
    layers: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    policy: str = "float32"
    depth: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - not for secrets
        self.numpy = np.random.default_rng(self.seed)

    def pick(self, *choices: Any) -> Any:
        """Draw one of some choices."""
        return self.random.choice(choices)

    def chance(self, probability: float) -> bool:
        """Draw yes or no."""
        return self.random.random() < probability

    def layer(self, kind: str, **options: Any) -> Any:
        """Make a layer; or now and then take one of the same class that is there already."""
        if not hasattr(layers, kind):
            raise NotApplicableError(kind)
        known = [layer for layer in self.layers if type(layer).__name__ == kind]
        if known and self.chance(0.3):
            self.note(f"shared {known[0].name}")
            return known[0]
        made = getattr(layers, kind)(**options)
        self.layers.append(made)
        self.note(f"{kind}({', '.join(f'{k}={_short(v)}' for k, v in options.items() if v is not None)})")
        return made

    def op(self, name: str, function: Callable[..., Any], *tensors: Any, inside: bool = False) -> Any:
        """Apply a function of ``keras.ops`` as it is, in a Lambda, or in a layer.

        Args:
            name: For the report.
            function: The function.
            tensors: Its arguments.
            inside: Never as it is: it asks for sizes, which symbolic tensors do not know, or has tensors as options.
        """
        way = self.pick("Lambda", "layer") if inside or self.chance(0.5) else ""
        if way == "Lambda" and len(tensors) == 1:
            self.note(f"Lambda {name}")
            return layers.Lambda(function)(tensors[0])
        if way:
            self.note(f"layer {name}")
            return Apply(function)(list(tensors))
        self.note(name)
        return function(*tensors)

    def note(self, words: str) -> None:
        """Write down a node."""
        self.words.append(words)

    def constant(self, *shape: int) -> Any:
        """Random float32 numbers, of the order of 1."""
        return np.round(self.numpy.normal(0, 1, shape), 2).astype("float32")

    def activation(self) -> Any:
        """Draw an activation by name."""
        return self.pick(*ACTIVATIONS)

    def axis(self, x: Any, *, batch: float = 0.05) -> int:
        """An axis of a tensor, from the front or from the end; seldom the batch axis."""
        rank = len(x.shape)
        if rank < 2 and not self.chance(batch):
            raise NotApplicableError("no axis")
        axis = 0 if self.chance(batch) else self.random.randrange(1, rank)
        return axis - rank if self.chance(0.4) else axis

    def fixed_axis(self, x: Any) -> int:
        """An axis of a size that is known."""
        known = [axis for axis, size in enumerate(x.shape) if size is not None and axis]
        if not known:
            raise NotApplicableError("no fixed axis")
        axis = self.pick(*known)
        return axis - len(x.shape) if self.chance(0.4) else axis

    def other(self, suits: Callable[[Any], bool]) -> Any:
        """Another tensor of the pool."""
        found = [y for y in self.pool if suits(y)]
        if not found:
            raise NotApplicableError("no other tensor")
        return self.pick(*found)


def _short(value: Any) -> str:
    return getattr(value, "name", None) or (f"array{value.shape}" if isinstance(value, np.ndarray) else str(value))


def is_float(x: Any) -> bool:
    """Whether a tensor has numbers with a point."""
    return keras.backend.standardize_dtype(x.dtype).startswith("float")


def is_whole(x: Any) -> bool:
    """Whether a tensor has whole numbers."""
    return keras.backend.standardize_dtype(x.dtype).startswith(("int", "uint"))


def _real(x: Any) -> Any:
    return x if is_float(x) else ops.cast(x, "float32")


# -- functions of each number -----------------------------------------------------------------------------------------

_NAMES = (
    "abs ceil floor round trunc sign square exp exp2 expm1 sin cos tan arctan sinh cosh tanh arcsinh erf negative relu "
    "relu6 sigmoid sparse_sigmoid softplus softsign soft_shrink sparse_plus silu squareplus log_sigmoid leaky_relu "
    "hard_sigmoid hard_silu hard_tanh elu selu celu gelu tanh_shrink hard_shrink deg2rad rad2deg sinc cbrt erfc "
    "nan_to_num isnan isinf isfinite signbit logical_not ones_like zeros_like stop_gradient reciprocal sqrt log log1p "
    "isposinf isneginf fabs"
)
OF_FLOATS: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(ops, name) for name in _NAMES.split() if hasattr(ops, name)},
    "sqrt abs": lambda x: ops.sqrt(ops.abs(x)),
    "rsqrt": lambda x: ops.rsqrt(ops.abs(x) + 0.5),
    "log abs": lambda x: ops.log(ops.abs(x) + 0.25),
    "log2": lambda x: ops.log2(ops.abs(x) + 1.0),
    "log10": lambda x: ops.log10(ops.abs(x) + 1e-3),
    "log1p abs": lambda x: ops.log1p(ops.abs(x)),
    "arccosh": lambda x: ops.arccosh(ops.abs(x) + 1.0),
    "arcsin": lambda x: ops.arcsin(ops.tanh(x) * 0.9),
    "arccos": lambda x: ops.arccos(ops.clip(x, -1.0, 1.0)),
    "arctanh": lambda x: ops.arctanh(ops.tanh(x) * 0.9),
    "erfinv": lambda x: ops.erfinv(ops.tanh(x) * 0.9),
    "power": lambda x: ops.power(ops.abs(x) + 0.1, 1.7),
    "cube": lambda x: x**3,
    "power -1": lambda x: ops.power(ops.abs(x) + 0.5, -1),
    "clip": lambda x: ops.clip(x, -0.5, 0.7),
    "threshold": lambda x: ops.threshold(x, 0.3, -2.0),
    "gelu exact": lambda x: ops.gelu(x, approximate=False),
    "celu 2": lambda x: ops.celu(x, 2.0),
    "elu 0.5": lambda x: ops.elu(x, alpha=0.5),
    "leaky_relu 0.1": lambda x: ops.leaky_relu(x, 0.1),
    "plus": lambda x: x + 0.5,
    "times": lambda x: x * 3,
    "from": lambda x: 1 - x,
    "half": lambda x: x / 2,
    "below": lambda x: 2.0 / (ops.abs(x) + 1.0),
    "mod": lambda x: ops.mod(x, 0.75),
    "mod negative": lambda x: x % -1.5,
    "floor_divide": lambda x: x // 0.5,
    "fmod": lambda x: ops.fmod(x, 1.25) if hasattr(ops, "fmod") else x,
    "greater": lambda x: x > 0.125,
    "less_equal": lambda x: ops.less_equal(x, 0),
    "not_equal": lambda x: ops.not_equal(x, 0.0),
    "where": lambda x: ops.where(x > 0, x, -0.1 * x),
    "where constant": lambda x: ops.where(ops.isfinite(x), x, 0.0),
    "select": lambda x: ops.select([x > 1, x > 0], [x, x * 2], 3.0),
    "to int32": lambda x: ops.cast(ops.clip(x * 3, -1000, 1000), "int32"),
    "to int64": lambda x: ops.cast(ops.clip(x * 100, -30000, 30000), "int64"),
    "to uint8": lambda x: ops.cast(ops.clip(ops.abs(x) * 8, 0, 255), "uint8"),
    "to bool": lambda x: ops.cast(x, "bool"),
    "to float16": lambda x: ops.cast(ops.clip(x, -1000, 1000), "float16"),
    "to float32": lambda x: ops.cast(x, "float32"),
    "to float64": lambda x: ops.cast(x, "float64"),
    "saturate": lambda x: ops.saturate_cast(ops.nan_to_num(x * 20), "uint8"),
    "round 1": lambda x: ops.round(x, 1),
    "heaviside": lambda x: ops.heaviside(x, 0.5),
    "hypot": lambda x: ops.hypot(x, 3.0),
    "arctan2": lambda x: ops.arctan2(x, 0.5),
    "logaddexp": lambda x: ops.logaddexp(x, 0.0),
    "divide_no_nan": lambda x: ops.divide_no_nan(x, ops.floor(ops.clip(x, -2, 2))),
    "digitize": lambda x: ops.digitize(x, [-1.0, 0.0, 0.7]),
    "isclose": lambda x: ops.isclose(x, 0.5, atol=0.25),
    "full_like": lambda x: ops.full_like(x, 2.5) + x,
    "ldexp": lambda x: ops.ldexp(x, 3) if hasattr(ops, "ldexp") else x,
}
OF_WHOLE: dict[str, Callable[[Any], Any]] = {
    "plus": lambda x: x + 1,
    "minus": lambda x: x - 2,
    "times": lambda x: x * 3,
    "plus a half": lambda x: x + 0.5,
    "divided": lambda x: x / 4,
    "mod": lambda x: ops.mod(x, 7),
    "mod negative": lambda x: ops.mod(x - 3, -5),
    "floor_divide": lambda x: ops.floor_divide(x, 3),
    "floor_divide negative": lambda x: (x - 2) // -4,
    "abs": ops.abs,
    "negative": ops.negative,
    "sign": ops.sign,
    "square": ops.square,
    "power": lambda x: ops.power(ops.mod(x, 11), 3),
    "clip": lambda x: ops.clip(x, 1, 3),
    "minimum": lambda x: ops.minimum(x, 4),
    "maximum float": lambda x: ops.maximum(x, 0.5),
    "equal": lambda x: ops.equal(x, 1),
    "greater": lambda x: x > 2,
    "greater float": lambda x: x > 0.5,
    "where": lambda x: ops.where(x > 1, x, 0),
    "where float": lambda x: ops.where(x > 1, x, 0.5),
    "isin": lambda x: ops.isin(x, [1, 3]),
    "one_hot": lambda x: ops.one_hot(ops.mod(x, 4), 4),
    "and": lambda x: ops.bitwise_and(x, 6),
    "or": lambda x: ops.bitwise_or(x, 1),
    "xor": lambda x: ops.bitwise_xor(x, 5),
    "not": ops.bitwise_not,
    "left": lambda x: ops.left_shift(x, 2),
    "right": lambda x: ops.right_shift(x, 1),
    "relu": ops.relu,
    "sqrt": lambda x: ops.sqrt(ops.abs(x)),
    "exp": lambda x: ops.exp(-ops.abs(x)),
    "sigmoid": lambda x: ops.sigmoid(_real(x)),
    "sin": ops.sin,
    "round": ops.round,
    "floor": ops.floor,
    "logical_not": ops.logical_not,
    "to float32": lambda x: ops.cast(x, "float32"),
    "to float16": lambda x: ops.cast(ops.clip(x, 0, 100), "float16"),
    "to int64": lambda x: ops.cast(x, "int64"),
    "to int32": lambda x: ops.cast(x, "int32"),
    "to uint8": lambda x: ops.cast(ops.clip(x, 0, 200), "uint8"),
    "to bool": lambda x: ops.cast(x, "bool"),
}
OF_BOOL: dict[str, Callable[[Any], Any]] = {
    "not": ops.logical_not,
    "to float32": lambda x: ops.cast(x, "float32"),
    "to int32": lambda x: ops.cast(x, "int32"),
    "plus": lambda x: x + 1,
    "times": lambda x: x * 2.5,
    "where": lambda x: ops.where(x, 1.5, -0.5),
    "where whole": lambda x: ops.where(x, 3, 7),
    "and": lambda x: ops.logical_and(x, True),
    "xor": lambda x: ops.logical_xor(x, True),
    "negative": lambda x: -ops.cast(x, "int32"),
    "equal": lambda x: ops.equal(x, False),
}


def function(d: Drawing, x: Any) -> Any:
    """A function of each number."""
    table = OF_FLOATS if is_float(x) else OF_WHOLE if is_whole(x) else OF_BOOL
    name = d.pick(*table)
    return d.op(name, table[name], x)


_NAMES_OF_TWO = (
    "add subtract multiply maximum minimum fmax fmin equal not_equal greater greater_equal less less_equal logical_and "
    "logical_or logical_xor logaddexp logaddexp2 arctan2 hypot divide_no_nan heaviside isclose"
)
OF_TWO: dict[str, Callable[[Any, Any], Any]] = {
    **{name: getattr(ops, name) for name in _NAMES_OF_TWO.split() if hasattr(ops, name)},
    "divide": lambda a, b: a / (ops.abs(b) + 1),
    "divide raw": ops.divide,
    "mod": lambda a, b: ops.mod(a, ops.maximum(b, 1)),
    "floor_divide": lambda a, b: ops.floor_divide(a, ops.maximum(b, 2)),
    "power": lambda a, b: ops.power(ops.abs(_real(a)) + 0.5, ops.clip(b, -2, 2)),
    "where": lambda a, b: ops.where(ops.greater(a, b), a, b),
    "where scalar": lambda a, b: ops.where(ops.cast(a, "bool"), b, 1),
    "difference": lambda a, b: a - b * 2,
    "clip": lambda a, b: ops.clip(a, ops.minimum(b, 0), 1),
    "squared difference": lambda a, b: ops.square(ops.subtract(a, b)),
}


def _fits(x: Any) -> Callable[[Any], bool]:
    """Whether two tensors can be broadcast; free axes meet free axes or 1."""

    def fits(y: Any) -> bool:
        pairs = zip(reversed(x.shape), reversed(y.shape), strict=False)
        same_batch = len(x.shape) == len(y.shape)
        return same_batch and all(a == b or 1 in (a, b) for a, b in pairs)

    return fits


def function_of_two(d: Drawing, x: Any) -> Any:
    """A function of two tensors of the same sizes, of other types maybe."""
    other = d.other(_fits(x))
    name = d.pick(*OF_TWO)
    pair = (x, other) if d.chance(0.5) else (other, x)
    d.used.add(id(other))
    return d.op(name, OF_TWO[name], *pair, inside=name == "clip")


def where(d: Drawing, x: Any) -> Any:
    """A choice between two branches by a third tensor."""
    other, condition = d.other(_fits(x)), d.other(_fits(x))
    d.used |= {id(other), id(condition)}
    return d.op("where of three", lambda c, a, b: ops.where(ops.cast(c, "bool"), a, b), condition, x, other)


def merge(d: Drawing, x: Any) -> Any:
    """A merging layer."""
    kind = d.pick("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate", "Concatenate", "Dot")
    if kind == "Concatenate":
        axis = d.axis(x, batch=0.0)
        rank = len(x.shape)

        def alike(y: Any) -> bool:
            return len(y.shape) == rank and all(
                a == b for k, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if k != axis % rank
            )

        others = [d.other(alike) for _ in range(d.pick(1, 1, 2))]
        d.used |= {id(y) for y in others}
        return d.layer(kind, axis=axis)([x, *others])
    other = d.other(lambda y: tuple(y.shape) == tuple(x.shape))
    d.used.add(id(other))
    if kind == "Dot":
        return d.layer(kind, axes=d.axis(x, batch=0.0), normalize=d.chance(0.4))([x, other])
    many = [x, other] if kind == "Subtract" or d.chance(0.7) else [x, other, x]
    return d.layer(kind)(many)


# -- reductions, shapes, indices --------------------------------------------------------------------------------------

REDUCTIONS = (
    "sum mean max min prod var std amax amin logsumexp any all count_nonzero argmax argmin median ptp nansum nanmean "
    "nanmax nanmin nanvar nanstd sum mean max min"
)


def reduction(d: Drawing, x: Any) -> Any:
    """A reduction along one axis, several or all, free ones included."""
    name = d.pick(*REDUCTIONS.split())
    rank = len(x.shape)
    axis: Any = d.axis(x)
    options: dict[str, Any] = {"keepdims": d.chance(0.4)}
    if name in {"ptp", "count_nonzero"}:
        options = {}
    if not name.startswith("arg") and rank > 2 and d.chance(0.3):
        axis = tuple(d.random.sample(range(1, rank), 2))
    if d.chance(0.04):
        axis = None
    if name in {"max", "min", "sum"} and d.chance(0.1) and name != "sum":
        options["initial"] = 0.5 if is_float(x) else 0
    if not hasattr(ops, name):
        raise NotApplicableError(name)
    words = f"{name}(axis={axis}, {options})"
    return d.op(words, lambda t: getattr(ops, name)(t, axis=axis, **options), x)


def along(d: Drawing, x: Any) -> Any:
    """What is computed along an axis and keeps it."""
    axis = d.axis(x, batch=0.02)
    k = d.pick(1, 2)
    tables: dict[str, Callable[[Any], Any]] = {
        "cumsum": lambda t: ops.cumsum(t, axis=axis),
        "cumprod": lambda t: ops.cumprod(ops.clip(t, -1, 1), axis=axis),
        "sort": lambda t: ops.sort(t, axis=axis),
        "argsort": lambda t: ops.argsort(t, axis=axis),
        "flip": lambda t: ops.flip(t, axis=axis),
        "roll": lambda t: ops.roll(t, k, axis=axis),
        "roll back": lambda t: ops.roll(t, -k, axis=axis),
        "diff": lambda t: ops.diff(t, n=k, axis=axis),
        "repeat": lambda t: ops.repeat(t, k + 1, axis=axis),
        "softmax": lambda t: ops.softmax(_real(t), axis=axis),
        "log_softmax": lambda t: ops.log_softmax(_real(t), axis=axis),
        "sparsemax": lambda t: ops.sparsemax(_real(t), axis=axis),
        "normalize": lambda t: ops.normalize(_real(t), axis=axis, order=k),
        "norm": lambda t: ops.norm(_real(t), axis=axis, ord=k),
        "moments": lambda t: ops.concatenate(ops.moments(_real(t), axes=[axis]), axis=-1),
        "quantile": lambda t: ops.quantile(_real(t), 0.3, axis=axis),
        "percentile": lambda t: ops.percentile(_real(t), 65, axis=axis, keepdims=True),
        "top_k": lambda t: ops.top_k(t, 1)[0],
        "top_k index": lambda t: ops.top_k(t, 1)[1],
        "trapezoid": lambda t: ops.trapezoid(_real(t), dx=0.5, axis=axis),
        "glu": lambda t: ops.glu(ops.concatenate([t, t * 2], axis=axis), axis=axis),
        "average": lambda t: ops.average(_real(t), axis=axis),
        "cummax": lambda t: t - ops.max(t, axis=axis, keepdims=True),
        "centered": lambda t: t - ops.mean(t, axis=axis, keepdims=True),
        "take_along": lambda t: ops.take_along_axis(t, ops.argsort(t, axis=axis), axis=axis),
        "take_along one": lambda t: ops.take_along_axis(t, ops.argmax(t, axis=axis, keepdims=True), axis=axis),
        "segments": lambda t: ops.split(ops.concatenate([t, t], axis=axis), 2, axis=axis)[1],
        "stack": lambda t: ops.stack([t, t * 2], axis=axis),
        "unstack": lambda t: ops.unstack(ops.stack([t, t + 1], axis=axis), 2, axis=axis)[k - 1],
        "tril": lambda t: ops.tril(t, k - 1),
        "triu": lambda t: ops.triu(t, -k),
        "rms": lambda t: ops.rms_normalization(_real(t), axis=axis),
        "layer norm": lambda t: ops.layer_normalization(_real(t), axis=axis),
        "pad": lambda t: ops.pad(t, [(0, 0), *[(k, 1)] * (len(t.shape) - 1)]),
        "pad reflect": lambda t: ops.pad(t, [(0, 0), *[(k, 1)] * (len(t.shape) - 1)], mode="reflect"),
        "pad edge": lambda t: ops.pad(t, [(0, 0), *[(1, k)] * (len(t.shape) - 1)], mode="symmetric"),
        "tile": lambda t: ops.tile(t, [1] * (len(t.shape) - 1) + [k + 1]),
        "logsumexp": lambda t: ops.logsumexp(t, axis=axis, keepdims=True),
        "diagonal": lambda t: ops.diagonal(t, offset=k - 1, axis1=-2, axis2=-1),
        "trace": lambda t: ops.trace(t, axis1=-2, axis2=-1),
        "bincount": lambda t: ops.bincount(ops.cast(ops.clip(ops.abs(t), 0, 5), "int32"), minlength=6),
        "multi_hot": lambda t: ops.multi_hot(ops.cast(ops.clip(ops.abs(t), 0, 5), "int32"), 6),
        "linspace": lambda t: ops.linspace(_real(t), _real(t) + 2.0, 3, axis=-1),
        "outer": lambda t: ops.einsum("...i,...j->...ij", _real(t), _real(t)),
        "fori": lambda t: ops.fori_loop(0, 3, lambda i, y: y * 0.5 + i, _real(t)),
        "cond": lambda t: ops.cond(ops.sum(ops.cast(t, "float32")) > 0, lambda: _real(t) * 2, lambda: _real(t) - 1),
        "extract_sequences": lambda t: ops.extract_sequences(_real(t), 2, 1),
        "searchsorted": lambda t: ops.searchsorted(np.asarray([-1.0, 0.0, 1.5], "float32"), ops.ravel(_real(t))),
        "vander": lambda t: ops.power(ops.expand_dims(ops.tanh(_real(t)), -1), np.asarray([0.0, 1.0, 2.0], "float32")),
    }
    name = d.pick(*tables)
    return d.op(f"{name}(axis={axis}, k={k})", tables[name], x)


def shape(d: Drawing, x: Any) -> Any:
    """Another shape with the same numbers."""
    rank = len(x.shape)
    axis = d.axis(x, batch=0.0)
    order = list(range(1, rank))
    d.random.shuffle(order)
    last = x.shape[-1]
    halves = (2, last // 2) if last is not None and last % 2 == 0 else (1, last if last is not None else -1)
    tables: dict[str, Callable[[Any], Any]] = {
        "transpose": lambda t: ops.transpose(t, (0, *order)),
        "swapaxes": lambda t: ops.swapaxes(t, axis, -1),
        "moveaxis": lambda t: ops.moveaxis(t, axis, 1),
        "expand_dims": lambda t: ops.expand_dims(t, axis),
        "expand and squeeze": lambda t: ops.squeeze(ops.expand_dims(t, (1, -1)), 1),
        "reshape all": lambda t: ops.reshape(t, (ops.shape(t)[0], -1)),
        "reshape merge": lambda t: ops.reshape(t, (-1, ops.shape(t)[-1])),
        "reshape split": lambda t: ops.reshape(t, (*(ops.shape(t)[k] for k in range(rank - 1)), *halves)),
        "reshape sizes": lambda t: ops.reshape(t, (ops.shape(t)[0], -1, ops.shape(t)[rank - 1])),
        "broadcast": lambda t: ops.broadcast_to(ops.expand_dims(t, 1), (ops.shape(t)[0], 3, *ops.shape(t)[1:])),
        "ravel": ops.ravel,
        "batch last": ops.transpose,
        "rot90": lambda t: ops.rot90(t, k=3, axes=(1, 2)),
        "size": lambda t: ops.sum(t, axis=-1) / ops.cast(ops.shape(t)[-1] * 2 + 1, "float32"),
        "arange": lambda t: t + ops.cast(ops.arange(ops.shape(t)[-1]), "float32"),
        "ones": lambda t: ops.ones(ops.shape(t)) + t,
        "half": lambda t: t[:, : ops.shape(t)[1] // 2],
        "Flatten": layers.Flatten(),
        "Permute": layers.Permute(order),
        "Reshape": layers.Reshape((-1, *halves)),
        "RepeatVector": layers.RepeatVector(3),
    }
    name = d.pick(*tables)
    if name[0].isupper():
        d.note(f"{name} {order}")
        return tables[name](x)
    return d.op(f"{name} {axis} {order}", tables[name], x, inside=True)


def index(d: Drawing, x: Any) -> Any:
    """Some of the numbers."""
    axis = d.axis(x, batch=0.03)
    rank = len(x.shape)
    keys: list[Any] = []
    for k in range(rank):
        size = x.shape[k]
        many = size is None or size >= 4
        choices: list[Any] = [slice(None), slice(None)]
        if k:
            choices += [0, -1, slice(None, -1), slice(None, None, 2), slice(1, None), slice(-1, None)]
            choices += [slice(1, -1), slice(-3, -1), slice(None, None, -1), slice(0, 2)] if many else []
        keys.append(d.pick(*choices))
    if d.chance(0.3):
        keys.insert(d.random.randrange(len(keys) + 1), None)
    elif d.chance(0.3):
        keys = [..., *keys[d.random.randrange(1, rank + 1) :]]
    start = d.pick(0, 1)
    tables: dict[str, Callable[[Any], Any]] = {
        "getitem": lambda t: t[tuple(keys)],
        "take": lambda t: ops.take(t, [0, -1, 0], axis=axis),
        "take one": lambda t: ops.take(t, 0, axis=axis),
        "take by": lambda t: ops.take(t, ops.cast(ops.argmax(_real(t), axis=-1), "int32") * 0, axis=axis),
        "split": lambda t: ops.split(ops.concatenate([t, t, t], axis=axis), 3, axis=axis)[start],
        "split at": lambda t: ops.split(t, [1], axis=axis)[start],
        "slice": lambda t: ops.slice(t, (0, *[0] * (rank - 1)), (ops.shape(t)[0], *[1] * (rank - 1))),
        "slice_update": lambda t: ops.slice_update(
            t, [0] * rank, ops.ones_like(t[(slice(None), *[slice(0, 1)] * (rank - 1))])
        ),
        "pad after": lambda t: ops.concatenate([t, ops.zeros_like(t)], axis=axis),
        "shifted": lambda t: ops.concatenate([t[:, 1:], t[:, :1]], axis=1),
        "append": lambda t: ops.append(t, t * 2, axis=axis),
    }
    name = d.pick("getitem", "getitem", "getitem", *tables)
    return d.op(f"{name} {keys if name == 'getitem' else axis}", tables[name], x, inside=name.startswith("slice"))


# -- layers on the last axis ------------------------------------------------------------------------------------------


def feature(d: Drawing, x: Any) -> Any:
    """A layer for vectors, with anything before the last axis."""
    if x.shape[-1] is None:
        raise NotApplicableError("features are free")
    rank, last = len(x.shape), x.shape[-1]
    units = d.pick(1, 2, 3, 4, 6)
    axis = d.fixed_axis(x)
    made: dict[str, Callable[[], Any]] = {
        "Dense": lambda: d.layer("Dense", units=units, activation=d.activation(), use_bias=d.chance(0.8)),
        "EinsumDense": lambda: d.layer(
            "EinsumDense",
            equation="...d,dh->...h",
            output_shape=units,
            bias_axes=d.pick(None, "h"),
            activation=d.activation(),
        ),
        "TernaryDense": lambda: d.layer("TernaryDense", units=units),
        "BatchNormalization": lambda: d.layer(
            "BatchNormalization", axis=axis, center=d.chance(0.8), scale=d.chance(0.8), epsilon=d.pick(1e-3, 0.1)
        ),
        "LayerNormalization": lambda: d.layer(
            "LayerNormalization", axis=axis, center=d.chance(0.8), scale=d.chance(0.8), epsilon=d.pick(1e-3, 1e-6)
        ),
        "RMSNormalization": lambda: d.layer("RMSNormalization", axis=-1, epsilon=d.pick(1e-6, 0.1)),
        "GroupNormalization": lambda: d.layer(
            "GroupNormalization", groups=d.pick(1, -1, 2), axis=axis, center=d.chance(0.8)
        ),
        "UnitNormalization": lambda: d.layer("UnitNormalization", axis=axis),
        "SpectralNormalization": lambda: d.layer("SpectralNormalization", layer=layers.Dense(units)),
        "PReLU": lambda: d.layer("PReLU", shared_axes=list(range(1, rank - 1)) or None),
        "ReLU": lambda: d.layer("ReLU", max_value=d.pick(None, 1.0), negative_slope=d.pick(0.0, 0.2), threshold=0.1),
        "LeakyReLU": lambda: d.layer("LeakyReLU", negative_slope=0.1),
        "ELU": lambda: d.layer("ELU", alpha=d.pick(1.0, 0.5)),
        "Softmax": lambda: d.layer("Softmax", axis=axis),
        "Activation": lambda: d.layer("Activation", activation=d.activation()),
        "Dropout": lambda: d.layer(d.pick("Dropout", "AlphaDropout", "GaussianDropout"), rate=0.3),
        "GaussianNoise": lambda: d.layer("GaussianNoise", stddev=0.3),
        "ActivityRegularization": lambda: d.layer("ActivityRegularization", l2=0.1),
        "Identity": lambda: d.layer("Identity"),
        "Rescaling": lambda: d.layer("Rescaling", scale=d.pick(2.0, 1 / 255), offset=d.pick(0.0, -1.0)),
        "Normalization": lambda: d.layer("Normalization", mean=0.5, variance=2.0, axis=None, invert=d.chance(0.3)),
        "Normalization axis": lambda: d.layer(
            "Normalization", mean=list(np.linspace(-1, 1, last)), variance=list(np.linspace(0.5, 2, last))
        ),
        "Discretization": lambda: d.layer(
            "Discretization",
            bin_boundaries=[-1.0, 0.0, 0.7],
            output_mode=d.pick("int", "int", "multi_hot", "count", "one_hot"),
        ),
    }
    return made[d.pick("Dense", "Dense", *made)]()(x if is_float(x) or d.chance(0.5) else _real(x))


def product(d: Drawing, x: Any) -> Any:
    """Sums of products."""
    if x.shape[-1] is None:
        raise NotApplicableError("features are free")
    size, k = x.shape[-1], d.pick(1, 3)
    weights, cube = d.constant(size, k), d.constant(size, 2, k)
    tables: dict[str, Callable[[Any], Any]] = {
        "matmul": lambda t: ops.matmul(t, weights),
        "matmul self": lambda t: ops.matmul(t, ops.swapaxes(t, -1, -2)),
        "dot": lambda t: ops.dot(t, weights),
        "tensordot": lambda t: ops.tensordot(t, cube, axes=[[-1], [0]]),
        "einsum": lambda t: ops.einsum("...d,dhk->...hk", t, cube),
        "einsum self": lambda t: ops.einsum("b...d,b...d->b...", t, t),
        "einsum order": lambda t: ops.einsum("...d,dk->k...", t, weights),
        "inner": lambda t: ops.inner(t, weights.T.copy()),
        "vecdot": lambda t: ops.sum(t * weights[:, 0], axis=-1),
    }
    name = d.pick(*tables)
    return d.op(f"{name} {weights.shape}", tables[name], x if is_float(x) else _real(x))


# -- tokens and sequences ---------------------------------------------------------------------------------------------


def tokens(d: Drawing, x: Any) -> Any:
    """A layer for whole numbers that are indices."""
    kind = d.pick("Embedding", "Embedding", "Embedding", "IntegerLookup", "CategoryEncoding", "ReversibleEmbedding")
    if kind == "IntegerLookup":
        return d.layer(
            kind,
            vocabulary=[2, 4, 7],
            mask_token=d.pick(None, 0),
            num_oov_indices=d.pick(0, 1),
            output_mode=d.pick("int", "int", "multi_hot", "one_hot", "count"),
        )(x)
    safe = x if any(x is y for y in d.inputs) and d.chance(0.8) else ops.mod(x, 7)
    if kind == "CategoryEncoding":
        return d.layer(kind, num_tokens=7, output_mode=d.pick("multi_hot", "count", "one_hot"))(safe)
    if kind == "ReversibleEmbedding":
        return d.layer(kind, input_dim=7, output_dim=4)(safe)
    return d.layer(kind, input_dim=7, output_dim=d.pick(3, 4, 6), mask_zero=d.chance(0.5))(safe)


def sequence(d: Drawing, x: Any) -> Any:
    """A layer for sequences of vectors."""
    if x.shape[-1] is None:
        raise NotApplicableError("features are free")
    units = d.pick(2, 3, 4)
    x = _real(x)
    kind = d.pick(*SEQUENCE)
    return SEQUENCE[kind](d, x, units)


def _rnn_options(d: Drawing, units: int) -> dict[str, Any]:
    return {
        "units": units,
        "activation": d.pick("tanh", "tanh", "tanh", "relu", "elu", "softsign"),
        "use_bias": d.chance(0.8),
        "return_sequences": d.chance(0.6),
        "go_backwards": d.chance(0.2),
        "return_state": d.chance(0.15),
    }


def _rnn(d: Drawing, x: Any, units: int) -> Any:
    kind = d.pick("LSTM", "GRU", "SimpleRNN")
    options = _rnn_options(d, units)
    if kind == "GRU":
        options["reset_after"] = d.chance(0.6)
    if kind != "SimpleRNN":
        options["recurrent_activation"] = d.pick("sigmoid", "sigmoid", "hard_sigmoid", "relu")
    if x.shape[1] is not None and d.chance(0.2):
        options["unroll"] = True
    if d.chance(0.15):
        options["zero_output_for_mask"] = True
    return d.layer(kind, **options)(x)


def _bidirectional(d: Drawing, x: Any, units: int) -> Any:
    inner = getattr(layers, d.pick("LSTM", "GRU", "SimpleRNN"))
    options = _rnn_options(d, units) | {"go_backwards": False, "return_state": False}
    d.note(f"inner {inner.__name__} {options}")
    return d.layer("Bidirectional", layer=inner(**options), merge_mode=d.pick("concat", "sum", "mul", "ave", None))(x)


def _cells(d: Drawing, x: Any, units: int) -> Any:
    cells = [getattr(layers, d.pick("LSTMCell", "GRUCell", "SimpleRNNCell"))(units) for _ in range(d.pick(1, 2))]
    options = {k: v for k, v in _rnn_options(d, units).items() if k.startswith(("return_sequences", "go"))}
    d.note(f"cells {[type(cell).__name__ for cell in cells]}")
    return d.layer("RNN", cell=cells if len(cells) > 1 else cells[0], **options)(x)


def _conv1(d: Drawing, x: Any, units: int) -> Any:
    kind = d.pick("Conv1D", "Conv1D", "SeparableConv1D", "DepthwiseConv1D", "Conv1DTranspose")
    strides, dilation = d.pick((1, 1), (2, 1), (1, 2))
    options: dict[str, Any] = {"kernel_size": d.pick(1, 2, 3), "strides": strides, "dilation_rate": dilation}
    options |= {"padding": d.pick("valid", "same"), "activation": d.activation(), "use_bias": d.chance(0.8)}
    if kind == "Conv1D" and d.chance(0.3):
        options["padding"] = "causal"
    if kind != "DepthwiseConv1D":
        options["filters"] = units
    return d.layer(kind, **options)(x)


def _pool1(d: Drawing, x: Any, _: int) -> Any:
    kind = d.pick("MaxPooling1D", "AveragePooling1D", "GlobalMaxPooling1D", "GlobalAveragePooling1D", "UpSampling1D")
    kind = d.pick(kind, "ZeroPadding1D", "Cropping1D", "AdaptiveMaxPooling1D", "AdaptiveAveragePooling1D", kind, kind)
    if kind.startswith("Global"):
        return d.layer(kind, keepdims=d.chance(0.3))(x)
    if kind.startswith("Adaptive"):
        return d.layer(kind, output_size=d.pick(1, 2, 3))(x)
    if "Pooling" in kind:
        return d.layer(kind, pool_size=d.pick(1, 2, 3), strides=d.pick(None, 1, 2), padding=d.pick("valid", "same"))(x)
    if kind == "UpSampling1D":
        return d.layer(kind, size=d.pick(1, 2))(x)
    return d.layer(kind, **{"padding" if kind.startswith("Zero") else "cropping": d.pick(1, (1, 0), (0, 2))})(x)


def _attention(d: Drawing, x: Any, units: int) -> Any:
    keys = d.other(lambda y: len(y.shape) == 3 and is_float(y) and y.shape[-1] == x.shape[-1]) if d.chance(0.6) else x
    d.used.add(id(keys))
    causal = {"use_causal_mask": True} if d.chance(0.3) else {}
    kind = d.pick("Attention", "AdditiveAttention", "MultiHeadAttention", "MultiHeadAttention", "GroupQueryAttention")
    if kind == "Attention":
        layer = d.layer(kind, use_scale=d.chance(0.5), score_mode=d.pick("dot", "concat"))
        return layer([x, keys], **causal)
    if kind == "AdditiveAttention":
        return d.layer(kind, use_scale=d.chance(0.5))([x, keys], **causal)
    if kind == "MultiHeadAttention":
        scores = {"return_attention_scores": True} if d.chance(0.15) else {}
        layer = d.layer(kind, num_heads=d.pick(1, 2), key_dim=units, use_bias=d.chance(0.7))
        return layer(x, keys, **causal, **scores)
    layer = d.layer(kind, head_dim=units, num_query_heads=4, num_key_value_heads=d.pick(1, 2, 4))
    return layer(x, keys, **causal)


def _masking(d: Drawing, x: Any, units: int) -> Any:
    d.note("Masking")
    masked = layers.Masking(mask_value=d.pick(0.0, 0.0, 1.0))(x)
    return d.pick(_rnn, _rnn, _bidirectional, _attention, _pool1)(d, masked, units)


def _each_step(d: Drawing, x: Any, units: int) -> Any:
    d.note("TimeDistributed Dense")
    return layers.TimeDistributed(layers.Dense(units, activation=d.activation()))(x)


def _positions(d: Drawing, x: Any, _: int) -> Any:
    table = d.constant(64, x.shape[-1])
    return d.op("positions", lambda t: t + ops.convert_to_tensor(table)[: ops.shape(t)[1]], x)


SEQUENCE: dict[str, Callable[[Drawing, Any, int], Any]] = {
    "rnn": _rnn,
    "rnn again": _rnn,
    "bidirectional": _bidirectional,
    "cells": _cells,
    "conv": _conv1,
    "conv again": _conv1,
    "pool": _pool1,
    "attention": _attention,
    "attention again": _attention,
    "masking": _masking,
    "each step": _each_step,
    "positions": _positions,
}


# -- pictures and volumes ---------------------------------------------------------------------------------------------


def picture(d: Drawing, x: Any) -> Any:
    """A layer or an operation for pictures, channels last."""
    if x.shape[-1] is None:
        raise NotApplicableError("channels are free")
    return d.pick(_conv, _conv, _pool, _resize, _resize, _around, _image_op)(d, x, 2)


def volume(d: Drawing, x: Any) -> Any:
    """The same for volumes."""
    if x.shape[-1] is None:
        raise NotApplicableError("channels are free")
    return d.pick(_conv, _pool, _around)(d, x, 3)


def _conv(d: Drawing, x: Any, rank: int) -> Any:
    kinds = [f"Conv{rank}D", f"Conv{rank}D", f"Conv{rank}DTranspose"]
    if rank == 2:
        kinds += ["DepthwiseConv2D", "SeparableConv2D"]
    kind = d.pick(*kinds)
    strides, dilation = d.pick((1, 1), (1, 1), (2, 1), (1, 2))
    options: dict[str, Any] = {"kernel_size": d.pick(1, 2, 3), "strides": strides, "dilation_rate": dilation}
    options |= {"padding": d.pick("valid", "same"), "activation": d.activation(), "use_bias": d.chance(0.8)}
    if kind != "DepthwiseConv2D":
        options["filters"] = d.pick(2, 4)
    else:
        options["depth_multiplier"] = d.pick(1, 2)
    if kind == f"Conv{rank}D" and x.shape[-1] % 2 == 0 and d.chance(0.2):
        options["groups"] = 2
    if kind.endswith("Transpose") and strides == 2 and d.chance(0.3):
        options["output_padding"] = 1
    out = d.layer(kind, **options)(x if is_float(x) else _real(x))
    if d.chance(0.3):
        out = d.layer("BatchNormalization")(out)
    return out


def _pool(d: Drawing, x: Any, rank: int) -> Any:
    kind = d.pick("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling")
    kind = d.pick(kind, kind, kind, "AdaptiveMaxPooling", "AdaptiveAveragePooling")
    x = _real(x)
    if kind.startswith("Global"):
        return d.layer(f"{kind}{rank}D", keepdims=d.chance(0.3))(x)
    if kind.startswith("Adaptive"):
        return d.layer(f"{kind}{rank}D", output_size=d.pick(1, 2, 3))(x)
    return d.layer(
        f"{kind}{rank}D", pool_size=d.pick(2, 3), strides=d.pick(None, 1, 2), padding=d.pick("valid", "same")
    )(x)


def _around(d: Drawing, x: Any, rank: int) -> Any:
    kind = d.pick(f"ZeroPadding{rank}D", f"Cropping{rank}D", f"UpSampling{rank}D", f"SpatialDropout{rank}D")
    if kind.startswith("Up"):
        options: dict[str, Any] = {"size": d.pick(1, 2)}
        if rank == 2:
            options["interpolation"] = d.pick("nearest", "nearest", "bilinear", "bicubic")
        return d.layer(kind, **options)(x)
    if kind.startswith("Spatial"):
        return d.layer(kind, rate=0.3)(x)
    widths = d.pick(1, tuple((d.pick(0, 1), d.pick(0, 1, 2)) for _ in range(rank)))
    return d.layer(kind, **{"padding" if kind.startswith("Zero") else "cropping": widths})(x)


def _resize(d: Drawing, x: Any, _: int) -> Any:
    size = (d.random.randrange(2, 14), d.random.randrange(2, 14))
    kind = d.pick("Resizing", "Resizing", "resize", "CenterCrop", "RandomCrop", "affine", "map", "crop", "pad")
    if kind in {"Resizing", "resize"}:
        options: dict[str, Any] = {
            "interpolation": d.pick("bilinear", "bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"),
            "antialias": d.chance(0.4),
            d.pick("crop_to_aspect_ratio", "pad_to_aspect_ratio"): d.chance(0.3),
        }
        if options.get("pad_to_aspect_ratio"):
            options["fill_value"] = 0.5
        if kind == "Resizing":
            return d.layer("Resizing", height=size[0], width=size[1], **options)(x)
        return d.op(
            f"resize {size} {options}",
            lambda t: ops.image.resize(t, size, data_format="channels_last", **options),
            x,
        )
    if kind in {"CenterCrop", "RandomCrop"}:
        return d.layer(kind, height=size[0], width=size[1])(x)
    if kind == "affine":
        options = {"interpolation": d.pick("nearest", "bilinear"), "fill_mode": d.pick("constant", "nearest", "wrap")}
        turn = np.asarray([[1.0, 0.2, -1.0, -0.1, 0.9, 0.5, 0.0, 0.0]], "float32")
        return d.op(
            f"affine_transform {options}",
            lambda t: ops.image.affine_transform(
                t, ops.broadcast_to(ops.convert_to_tensor(turn), (ops.shape(t)[0], 8)), data_format="channels_last",
                **options,
            ),
            _real(x),
        )  # fmt: skip
    if kind == "map":
        order, mode = d.pick(0, 1), d.pick("constant", "nearest", "wrap", "mirror", "reflect")
        places = np.asarray([[0.0, 0.5, 0.9], [0.25, 1.0, 1.75], [0.5, 0.5, 1.2], [0.0, 0.0, 1.0]], "float32")
        return d.op(
            f"map_coordinates {order} {mode}",
            lambda t: ops.image.map_coordinates(t, ops.convert_to_tensor(places), order=order, fill_mode=mode),
            _real(x),
        )
    if kind == "crop":
        return d.op(
            "crop_images",
            lambda t: ops.image.crop_images(t, 1, 1, target_height=2, target_width=2, data_format="channels_last"),
            x,
        )
    return d.op(
        "pad_images",
        lambda t: ops.image.pad_images(t, 1, 2, target_height=16, target_width=16, data_format="channels_last"),
        x,
    )


def _image_op(d: Drawing, x: Any, _: int) -> Any:
    last = {"data_format": "channels_last"}
    tables: dict[str, Callable[[Any], Any]] = {
        "grayscale": lambda t: ops.image.rgb_to_grayscale(t, **last),
        "hsv": lambda t: ops.image.rgb_to_hsv(ops.sigmoid(_real(t)), **last),
        "hsv and back": lambda t: ops.image.hsv_to_rgb(ops.sigmoid(_real(t)), **last),
        "patches": lambda t: ops.image.extract_patches(_real(t), 2, strides=2, padding="same", **last),
        "patches valid": lambda t: ops.image.extract_patches(_real(t), 3, strides=1, padding="valid", **last),
        "blur": lambda t: ops.image.gaussian_blur(_real(t), **last),
        "space_to_depth": lambda t: ops.space_to_depth(t, 2, **last),
        "depth_to_space": lambda t: ops.depth_to_space(t, 2, **last),
        "max_pool": lambda t: ops.max_pool(_real(t), 2, padding="same", **last),
        "average_pool": lambda t: ops.average_pool(_real(t), 2, strides=1, padding="same", **last),
        "channels first": lambda t: ops.transpose(t, (0, 3, 1, 2)),
        "AutoContrast": lambda t: layers.AutoContrast(value_range=(0, 1))(ops.sigmoid(_real(t))),
        "RandomFlip": layers.RandomFlip(),
        "RandomRotation": layers.RandomRotation(0.1),
        "Equalization": lambda t: layers.Equalization()(ops.sigmoid(_real(t)) * 255),
    }
    name = d.pick(*tables)
    if name[0].isupper():
        d.note(name)
        return tables[name](x)
    return d.op(name, tables[name], x)


def conv_lstm(d: Drawing, x: Any) -> Any:
    """A recurrent layer over pictures (rank 5), or an attention over two axes (rank 4)."""
    if x.shape[-1] is None:
        raise NotApplicableError("channels are free")
    x = _real(x)
    if len(x.shape) == 4:
        if None in x.shape[1:]:
            return d.layer("ConvLSTM1D", filters=2, kernel_size=2, padding="same", return_sequences=d.chance(0.5))(x)
        return d.layer("MultiHeadAttention", num_heads=2, key_dim=2, attention_axes=(1, 2))(x, x)
    return d.layer("ConvLSTM2D", filters=2, kernel_size=d.pick(1, 3), padding="same", return_sequences=d.chance(0.5))(x)


def nested(d: Drawing, x: Any) -> Any:
    """A model of a few nodes as a layer, called once or twice."""
    if d.depth or len(x.shape) < 2:
        raise NotApplicableError("deep enough")
    inside = keras.Input(x.shape[1:], dtype=x.dtype)
    pool, used, kept = d.pool, d.used, len(d.words)
    d.pool, d.used, d.depth = [inside], set(), 1
    d.note("nested [")
    try:
        for _ in range(d.pick(1, 2, 3)):
            add_node(d)
        model = keras.Model(inside, d.pool[-1])
    except BaseException:
        del d.words[kept:]
        raise
    finally:
        d.pool, d.used, d.depth = pool, used, 0
    d.note("]")
    out = model(x)
    if tuple(out.shape) == tuple(x.shape) and out.dtype == x.dtype and d.chance(0.5):
        d.note("again")
        out = model(out)
    return out


# -- the whole --------------------------------------------------------------------------------------------------------

_RANKS = {"tokens": (2,), "sequence": (3,), "picture": (4,), "volume": (5,), "conv_lstm": (4, 5)}
_NODES: list[tuple[int, Callable[[Drawing, Any], Any]]] = [
    (4, function),
    (4, function_of_two),
    (1, where),
    (2, merge),
    (3, reduction),
    (3, along),
    (2, shape),
    (2, index),
    (4, feature),
    (1, product),
    (6, tokens),
    (6, sequence),
    (8, picture),
    (6, volume),
    (1, conv_lstm),
    (1, nested),
]
INPUTS: tuple[tuple[tuple[Any, ...], tuple[str, ...]], ...] = (
    ((4,), ("float32", "float32", "int32", "bool", "int64", "float16", "float64")),
    ((6,), ("float32", "float32", "int32", "uint8")),
    ((None,), ("int32", "int64", "float32", "bool")),
    ((5,), ("int32", "int64")),
    ((1,), ("float32", "int32")),
    ((None, 4), ("float32", "float32", "float16", "int32", "bool")),
    ((None, 6), ("float32",)),
    ((5, 4), ("float32", "int64")),
    ((None, None), ("float32",)),
    ((6, 8, 3), ("float32", "uint8")),
    ((None, None, 3), ("float32", "uint8")),
    ((9, 5, 4), ("float32",)),
    ((8, 8, 1), ("float32", "uint8")),
    ((4, 5, 4, 2), ("float32",)),
    ((None, 4, 4, 2), ("float32",)),
    ((), ("float32", "int32")),
)


def _suits(node: Callable[..., Any], x: Any) -> bool:
    rank = len(x.shape)
    if rank not in _RANKS.get(node.__name__, (rank,)):
        return False
    if node is tokens:
        return is_whole(x)
    return node in (function, function_of_two) if rank < 2 else True


def add_node(d: Drawing) -> bool:
    """Apply one node to a tensor of the pool; false where none was found."""
    for _ in range(TRIES):
        position = len(d.pool) - 1 - min(d.random.randrange(len(d.pool)), d.random.randrange(len(d.pool)))
        x = d.pool[position]
        suiting = [(weight, node) for weight, node in _NODES if _suits(node, x)]
        if not suiting:
            continue
        node = d.random.choices([n for _, n in suiting], [w for w, _ in suiting])[0]
        kept_words, kept_layers, kept_used = len(d.words), len(d.layers), set(d.used)
        try:
            made = _handy(node(d, x))
        except Exception:  # noqa: BLE001 - Keras refuses a node with whatever its backend raises
            del d.words[kept_words:], d.layers[kept_layers:]
            d.used = kept_used
            continue
        d.words[-1] += f" of {position}"
        d.used.add(id(x))
        d.pool += made
        return True
    return False


def _handy(outputs: Any) -> list[Any]:
    """The tensors of a node.

    Raises:
        NotApplicableError: One is too large, or of a type that nothing else takes.
    """
    found = [x for x in keras.tree.flatten(outputs) if x is not None]
    kinds = ("float16", "float32", "float64", "int", "uint8", "uint32", "bool")
    for x in found:
        size = np.prod([24 if size is None else size for size in x.shape[1:]], initial=1)
        if not 0 < size <= MOST_NUMBERS or len(x.shape) > MOST_AXES or not str(x.dtype).startswith(kinds):
            raise NotApplicableError("too large")
    return found


def draw_model(seed: int) -> tuple[Any, Drawing]:
    """Draw a model: the same for a seed under one backend.

    Raises:
        Exception: Keras refuses to make a model of the nodes.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    d = Drawing(seed)
    d.policy = d.pick(*["float32"] * 12, "mixed_float16", "float16", "float64")
    keras.config.set_dtype_policy(d.policy)
    try:
        kind, dtypes = d.pick(*INPUTS)
        for position in range(d.pick(1, 1, 1, 2, 2, 3)):
            if position and d.chance(0.5):
                kind, dtypes = d.pick(*INPUTS)
            d.inputs.append(keras.Input(kind, dtype=d.pick(*dtypes), name=f"x{position}"))
        inputs = list(d.inputs)
        d.words.append(f"{d.policy} " + ", ".join(f"{x.dtype}{tuple(x.shape)}" for x in inputs) + ":")
        d.pool = list(inputs)
        for _ in range(d.random.randint(2, 12)):
            add_node(d)
        taken = {id(x) for x in inputs}
        leaves = [x for x in d.pool if id(x) not in d.used and id(x) not in taken] or d.pool[-1:]
        outputs: Any = leaves[-4:]
        if len(outputs) == 1:
            outputs = outputs[0]
        elif d.chance(0.3):
            outputs = {f"out{k}": x for k, x in enumerate(outputs)}
        model = keras.Model(inputs if len(inputs) > 1 or d.chance(0.5) else inputs[0], outputs)
        redraw(model, d)
    finally:
        keras.config.set_dtype_policy("float32")
    return model, d


def redraw(model: Any, d: Drawing) -> None:
    """Draw the weights anew, so that no layer is an identity."""
    for variable in model.variables:
        if "seed" in variable.name or not str(variable.dtype).startswith("float"):
            continue
        size = tuple(variable.shape)
        fan = float(np.prod(size[:-1])) if len(size) > 1 else 25.0
        value = d.numpy.normal(0.0, 1.4 / max(fan, 1.0) ** 0.5, size)
        if "variance" in variable.name:
            value = d.numpy.uniform(0.5, 1.5, size)
        elif "gamma" in variable.name or "scale" in variable.name:
            value = d.numpy.uniform(0.7, 1.3, size)
        variable.assign(value.astype("float32"))
