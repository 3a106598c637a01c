"""Images: resizing as an ONNX Resize where that is exact, else as two products with fixed weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mnistkit.export.native.backend_behavior import ask, nearest_pixels, nearest_rule, resized_type
from mnistkit.export.native.graph import Array, Graph, Value
from mnistkit.export.native.lowerings.creation import count_up
from mnistkit.export.native.lowerings.elementwise import clip_to, is_float
from mnistkit.export.native.registry import UnsupportedOp, register_decomposition, register_lowering
from mnistkit.export.native.symbolic_dim import SymbolicDim


@register_decomposition("Resize")
def resize(op: Any, images: Any) -> Any:
    """Crop or pad to the aspect ratio first; then the plain resize is recorded."""
    channels_first = op.data_format == "channels_first"
    axes = (-2, -1) if channels_first else (-3, -2)
    height, width = (images.shape[axis] for axis in axes)
    if op.crop_to_aspect_ratio or op.pad_to_aspect_ratio:
        if isinstance(height, SymbolicDim) or isinstance(width, SymbolicDim):
            raise UnsupportedOp("keeping the aspect ratio needs a fixed input height and width")
        images = (_crop if op.crop_to_aspect_ratio else _pad)(op, images, axes=axes, height=height, width=width)
    dtype = resized_type(images.dtype, op.interpolation, antialias=bool(op.antialias))
    plain = PlainResize(op.size, op.interpolation, antialias=op.antialias, axes=axes, dtype=dtype)
    return plain.symbolic_call(images)


class PlainResize(keras.Operation):
    """A resize without its options; recorded in place of Keras' own."""

    def __init__(
        self, size: Any, interpolation: str, *, antialias: bool, axes: tuple[int, int], dtype: str | None = None
    ) -> None:
        super().__init__(name="resize")
        self.size = tuple(size)
        self.interpolation = interpolation
        self.antialias = antialias
        self.axes = axes
        self.dtype = dtype

    def compute_output_spec(self, images: Any) -> Any:
        """Return the shape with the two sizes replaced."""
        shape = list(images.shape)
        for axis, size in zip(self.axes, self.size, strict=True):
            shape[axis] = size
        return keras.KerasTensor(tuple(shape), self.dtype or images.dtype)


def _crop(op: Any, images: Any, *, axes: tuple[int, int], height: int, width: int) -> Any:
    crop_height = max(min(height, int(float(width * op.size[0]) / op.size[1])), 1)
    crop_width = max(min(width, int(float(height * op.size[1]) / op.size[0])), 1)
    index: list[Any] = [slice(None)] * len(images.shape)
    for axis, start, size in (
        (axes[0], (height - crop_height) // 2, crop_height),
        (axes[1], (width - crop_width) // 2, crop_width),
    ):
        index[axis] = slice(start, start + size)
    return images[tuple(index)]


def _pad(op: Any, images: Any, *, axes: tuple[int, int], height: int, width: int) -> Any:
    pads = [[0, 0] for _ in images.shape]
    total_height = max(height, int(float(width * op.size[0]) / op.size[1]))
    total_width = max(width, int(float(height * op.size[1]) / op.size[0]))
    for axis, missing in ((axes[0], (total_height - height) // 2), (axes[1], (total_width - width) // 2)):
        pads[axis] = [missing, missing]
    return keras.ops.pad(images, pads, constant_values=op.fill_value)


@register_lowering(PlainResize)
def plain_resize(graph: Graph, op: PlainResize, images: Any) -> Value:
    """Nearest by index, bilinear by Resize or between two pixels; the others are products, for fixed sizes."""
    value = graph.value(images)
    axes = [axis % value.rank for axis in op.axes]
    if op.interpolation == "nearest":
        return _nearest(graph, op, value, axes)
    work = value if is_float(value.dtype) else graph.cast(value, "float32")
    shape = work.shape or ()
    free = any(isinstance(shape[axis], SymbolicDim) for axis in axes) or any(
        isinstance(size, SymbolicDim) for size in op.size
    )
    to_last_bit = op.interpolation == "bilinear" and not op.antialias and work is not value and _interpolates()
    if op.interpolation == "bilinear" and not op.antialias:
        simple = not free or all(_grows_by_power_of_two(shape[a], n) for a, n in zip(axes, op.size, strict=True))
        out = (_onnx_resize if simple and not to_last_bit else _interpolate)(graph, op, work, axes)
    elif free:
        what = f"{op.interpolation}{' with antialias' if op.antialias else ''}"
        raise UnsupportedOp(f"{what} resizing needs a fixed input height and width; use bilinear without antialias")
    else:
        out = _product(graph, op, work, axes)
    target = graph.spec[0].dtype
    if is_float(target):
        return out
    if not to_last_bit:
        graph.notes.add(
            f"{op.interpolation} resizing of {value.dtype} may answer 1 more or less where a value lies half-way; "
            "cast to float32 before it, if that matters"
        )
    rounded = graph.pointwise("Round", out)
    if target == "uint8":  # bicubic goes beyond the brightest pixel
        rounded = clip_to(graph, rounded, low=0.0, high=255.0)
    return graph.cast(rounded, target)


def _nearest(graph: Graph, op: PlainResize, value: Value, axes: list[int]) -> Value:
    """Gather the pixels that Keras takes; Resize rounds its coordinates otherwise, unless each pixel is repeated."""
    shape = list(value.shape or ())
    fixed = not any(isinstance(size, SymbolicDim) for size in (*(shape[axis] for axis in axes), *op.size))
    repeats = fixed and all(int(size) % int(shape[axis]) == 0 for axis, size in zip(axes, op.size, strict=True))
    if repeats and is_float(value.dtype):
        return _onnx_resize(graph, op, value, axes)
    for axis, size in zip(axes, op.size, strict=True):
        own = shape[axis]
        if not isinstance(own, SymbolicDim) and not isinstance(size, SymbolicDim):
            if int(own) == int(size):
                continue
            indices = graph.const(nearest_pixels(int(own), int(size)), "int64", name_hint="pixels")
        else:
            indices = _nearest_free(graph, own, size)
        shape[axis] = size
        value = graph.node("Gather", value, indices, axis=axis, shape=tuple(shape))
    return value


def _nearest_free(graph: Graph, own: Any, size: Any) -> Value:
    """Compute the pixels that Keras takes, in its order of operations: where two are as near, rounding decides."""
    rule = nearest_rule(None if isinstance(size, SymbolicDim) else int(size))
    if rule is None:
        raise UnsupportedOp("nearest resizing of a free size is rounded in a way that is not known; fix the input size")
    half = graph.const(0.5, "float32")
    places = _free_places(graph, own, size, product_first=rule == "product first")
    if rule == "centers":
        centers = graph.node("Max", graph.node("Sub", places, half), graph.const(0.0, "float32"))
        places = graph.node("Add", centers, half)
    found = graph.cast(graph.node("Floor", places), "int64")
    last = graph.node("Sub", graph.dim(own), graph.ints(1))
    return graph.node("Min", found, last, dtype="int64", shape=(size,))


def _free_places(graph: Graph, own: Any, size: Any, *, product_first: bool = False) -> Value:
    """Where the middle of each pixel is taken from, in single precision."""
    half = graph.const(0.5, "float32")
    steps = graph.node("Add", graph.cast(count_up(graph, size), "float32"), half, dtype="float32")
    pixels, wanted = (graph.cast(graph.dim(x), "float32") for x in (own, size))
    if product_first:
        return graph.node("Div", graph.node("Mul", steps, pixels), wanted)
    return graph.node("Mul", steps, graph.node("Div", pixels, wanted))


def _grows_by_power_of_two(own: Any, size: Any) -> bool:
    """Whether the places between pixels have an exact form at every size, so that no order of operations counts."""
    free = [isinstance(x, SymbolicDim) for x in (own, size)]
    if not all(free):
        return not any(free)
    factors = {size.first_size / own.first_size, size.second_size / own.second_size}
    return len(factors) == 1 and all(math.log2(factor).is_integer() for factor in factors)


def _onnx_resize(graph: Graph, op: PlainResize, value: Value, axes: list[int]) -> Value:
    shape = value.shape or ()
    rank = value.rank
    # runtimes resize the two last axes fast, and some nothing else
    order = [axis for axis in range(rank) if axis not in axes] + axes
    moved = graph.transpose(value, order)
    sizes = graph.shape_vector([*(shape[axis] for axis in order[:-2]), *op.size])
    nearest = op.interpolation == "nearest"  # each pixel repeated
    resized = graph.node(
        "Resize",
        moved,
        None,
        None,
        sizes,
        shape=(*(shape[axis] for axis in order[:-2]), *op.size),
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode="half_pixel",
        nearest_mode="round_prefer_ceil" if nearest else None,
    )
    return graph.transpose(resized, [order.index(axis) for axis in range(rank)])


def _product(graph: Graph, op: PlainResize, value: Value, axes: list[int]) -> Value:
    shape = list(value.shape or ())
    for axis, size in zip(axes, op.size, strict=True):
        weights = weight_matrix(int(shape[axis]), int(size), kernel=op.interpolation, antialias=op.antialias)
        order = [i for i in range(value.rank) if i != axis] + [axis]
        moved = graph.transpose(value, order)
        shape[axis] = int(size)
        matrix = graph.const(weights.T, value.dtype, name_hint="resize")
        out = graph.node("MatMul", moved, matrix, shape=tuple(shape[i] for i in order))
        value = graph.transpose(out, [order.index(i) for i in range(len(order))])
    return value


def _keys(a: float) -> Callable[[Array], Array]:
    def kernel(x: Array) -> Array:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))  # noqa: PLR2004  the kernel's support

    return kernel


def _lanczos(radius: float) -> Callable[[Array], Array]:
    def kernel(x: Array) -> Array:
        return np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0.0)

    return kernel


@dataclass(frozen=True, slots=True)
class _Cubic:
    """How a backend resizes by cubic splines.

    Attributes:
        kernel: Weights by distance.
        repeats: Whether pixels outside are those of the border; else they are left out.
        steps: Into how many steps between two pixels places are rounded; ``None`` for not at all.
    """

    kernel: Callable[[Array], Array]
    repeats: bool
    steps: int | None


@functools.cache
def _cubic(*, antialias: bool) -> _Cubic:
    # backends differ: plain bicubic has a = -0.75 and repeats the border, or has a = -0.5 and leaves the outside out;
    # TensorFlow reads the weights from a table of 1024 places between two pixels
    ways = [_Cubic(_keys(-0.75), True, None), _Cubic(_keys(-0.5), False, None), _Cubic(_keys(-0.5), False, 1024)]
    size, target = 8, 23
    impulse = np.zeros((1, 1, size, 1), "float32")
    impulse[0, 0, 4] = 1.0
    asked = ask(
        lambda x: keras.ops.image.resize(
            x, (1, target), interpolation="bicubic", antialias=antialias, data_format="channels_last"
        ),
        impulse,
    ).ravel()
    return min(ways, key=lambda way: np.abs(_spread(size, target, way.kernel, 2.0, cubic=way)[:, 4] - asked).max())


def weight_matrix(size: int, target: int, *, kernel: str, antialias: bool) -> Array:
    """Return the ``(target, size)`` weights of one axis, as the backend defines them."""
    stretch = max(size / target, 1.0) if antialias else 1.0
    if kernel == "bicubic":
        cubic = _cubic(antialias=antialias)
        return _spread(size, target, cubic.kernel, 2.0, stretch=stretch, cubic=cubic)
    if kernel in {"lanczos3", "lanczos5"}:
        radius = float(kernel[-1])
        return _spread(size, target, _lanczos(radius), radius, stretch=stretch)
    if kernel == "bilinear":
        return _spread(size, target, lambda x: np.maximum(0.0, 1.0 - x), 1.0, stretch=stretch)
    raise UnsupportedOp(f"the interpolation {kernel!r} has no translation; use bilinear")


def _spread(
    size: int,
    target: int,
    kernel: Callable[[Array], Array],
    radius: float,
    *,
    stretch: float = 1.0,
    cubic: _Cubic | None = None,
) -> Array:
    centres = (np.arange(target) + 0.5) * (size / target) - 0.5
    if cubic is not None and cubic.steps is not None:
        centres = _places(size, target)
        low = np.floor(centres)
        centres = low + np.rint((centres - low) * cubic.steps) / cubic.steps
    reach = int(np.ceil(radius * stretch)) + 1
    places = np.arange(-reach, size + reach)
    weights = kernel(np.abs(centres[:, None] - places[None, :]) / stretch)
    inside = weights[:, reach:-reach].copy()
    if cubic is not None and cubic.repeats:
        inside[:, 0] += weights[:, :reach].sum(axis=1)
        inside[:, -1] += weights[:, -reach:].sum(axis=1)
    total = inside.sum(axis=1, keepdims=True)
    return np.asarray(inside / np.where(total == 0, 1.0, total))


def _places(size: int, target: int) -> Array:
    """Where each pixel is taken from, in single precision and TensorFlow's order of operations."""
    single = np.float32
    scale = single(size) / single(target)
    return np.asarray((np.arange(target, dtype=single) + single(0.5)) * scale - single(0.5))


@functools.cache
def _interpolates() -> bool:
    """Say whether the backend resizes as `_interpolate` does, to the last bit; else it adds weighted pixels."""
    picture = np.random.default_rng(0).uniform(0, 255, (1, 5, 6, 1)).astype("float32")
    asked = ask(
        lambda x: keras.ops.image.resize(x, (7, 9), interpolation="bilinear", data_format="channels_last"), picture
    )
    expected = picture
    for axis, target in ((2, 9), (1, 7)):
        low, high, share = _neighbors(expected.shape[axis], target)
        before, after = (np.take(expected, index, axis) for index in (low, high))
        expected = before + (after - before) * share.reshape([-1 if i == axis else 1 for i in range(4)])
    return bool(np.array_equal(asked, expected))


def _neighbors(size: int, target: int) -> tuple[Array, Array, Array]:
    """The two pixels between which each one lies, and how near it is to the second."""
    places = _places(size, target)
    low = np.floor(places)
    first, second = (np.clip(index, 0, size - 1).astype("int64") for index in (low, low + 1))
    return first, second, np.asarray(places - low, "float32")


def _free_neighbors(graph: Graph, own: Any, size: Any) -> tuple[Value, Value, Value]:
    """The same in the graph, where a size is free."""
    places = graph.node("Sub", _free_places(graph, own, size), graph.const(0.5, "float32"))
    floor = graph.node("Floor", places)
    border, last = graph.const(0, "int64"), graph.node("Sub", graph.dim(own), graph.ints(1))
    low = graph.cast(floor, "int64")
    first, second = (
        graph.node("Min", graph.node("Max", index, border), last, dtype="int64", shape=(size,))
        for index in (low, graph.node("Add", low, graph.const(1, "int64")))
    )
    return first, second, graph.node("Sub", places, floor, shape=(size,))


def _interpolate(graph: Graph, op: PlainResize, value: Value, axes: list[int]) -> Value:
    """Bilinear with the places of the backend, in TensorFlow's order of operations under TensorFlow.

    A Resize computes the places in another order: on an axis of hundreds of pixels the difference is seen. The
    difference of two pixels, which TensorFlow takes, is infinite at the ends of the type, and not with the others.
    """
    shape = list(value.shape or ())
    for axis, size in reversed([*zip(axes, op.size, strict=True)]):
        own = shape[axis]
        if isinstance(own, SymbolicDim) or isinstance(size, SymbolicDim):
            first, second, share = _free_neighbors(graph, own, size)
        else:
            lower, upper, shares = _neighbors(int(own), int(size))
            first, second = (graph.const(index, "int64", name_hint="pixels") for index in (lower, upper))
            share = graph.const(shares, "float32")
        shape[axis] = size
        before, after = (graph.node("Gather", value, index, axis=axis, shape=tuple(shape)) for index in (first, second))
        behind = [*range(1, len(shape) - axis)]
        weights = graph.cast(graph.node("Unsqueeze", share, graph.ints(*behind)) if behind else share, value.dtype)
        if _interpolates():
            step = graph.node("Mul", graph.node("Sub", after, before), weights, shape=tuple(shape))
            value = graph.node("Add", before, step, shape=tuple(shape))
        else:
            rest = graph.node("Sub", graph.const(1.0, value.dtype), weights)
            parts = [
                graph.node("Mul", pixel, weight, shape=tuple(shape))
                for pixel, weight in ((before, rest), (after, weights))
            ]
            value = graph.node("Add", *parts, shape=tuple(shape))
    return value
