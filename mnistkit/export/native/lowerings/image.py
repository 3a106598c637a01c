"""Images: resizing as an ONNX Resize where that is exact, else as two products with fixed weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mnistkit.export.native.backend_behavior import nearest_pixels, nearest_rule, resized_type
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
    """Nearest by index, bilinear by Resize; the others are exact as products, for fixed sizes."""
    value = graph.value(images)
    axes = [axis % value.rank for axis in op.axes]
    if op.interpolation == "nearest":
        return _nearest(graph, op, value, axes)
    work = value if is_float(value.dtype) else graph.cast(value, "float32")
    shape = work.shape or ()
    free = any(isinstance(shape[axis], SymbolicDim) for axis in axes) or any(
        isinstance(size, SymbolicDim) for size in op.size
    )
    if op.interpolation == "bilinear" and not op.antialias:
        out = _onnx_resize(graph, op, work, axes)
    elif free:
        what = f"{op.interpolation}{' with antialias' if op.antialias else ''}"
        raise UnsupportedOp(f"{what} resizing needs a fixed input height and width; use bilinear without antialias")
    else:
        out = _product(graph, op, work, axes)
    target = graph.spec[0].dtype
    if is_float(target):
        return out
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
    steps = graph.node("Add", graph.cast(count_up(graph, size), "float32"), half, dtype="float32")
    pixels, wanted = (graph.cast(graph.dim(x), "float32") for x in (own, size))
    if rule == "product first":
        places = graph.node("Div", graph.node("Mul", steps, pixels), wanted)
    else:
        places = graph.node("Mul", steps, graph.node("Div", pixels, wanted))
    if rule == "centers":
        centers = graph.node("Max", graph.node("Sub", places, half), graph.const(0.0, "float32"))
        places = graph.node("Add", centers, half)
    found = graph.cast(graph.node("Floor", places), "int64")
    last = graph.node("Sub", graph.dim(own), graph.ints(1))
    return graph.node("Min", found, last, dtype="int64", shape=(size,))


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


def _cubic(*, antialias: bool) -> tuple[Callable[[Array], Array], float, bool]:
    # backends differ: plain bicubic has a = -0.75 and repeats the border, or has a = -0.5 and leaves the outside out
    impulse = np.zeros((1, 1, 8, 1), "float32")
    impulse[0, 0, 4] = 1.0
    asked = keras.ops.image.resize(
        impulse, (1, 16), interpolation="bicubic", antialias=antialias, data_format="channels_last"
    )
    answer = np.asarray(keras.ops.convert_to_numpy(asked)).ravel()
    sharp, soft = _keys(-0.75), _keys(-0.5)
    distance = np.abs((np.arange(16) + 0.5) / 2 - 0.5 - 4)
    if np.abs(answer - sharp(distance)).max() < np.abs(answer - soft(distance)).max():
        return sharp, 2.0, True
    return soft, 2.0, False


def weight_matrix(size: int, target: int, *, kernel: str, antialias: bool) -> Array:
    """Return the ``(target, size)`` weights of one axis, as TensorFlow and JAX define them."""
    function: Callable[[Array], Array]
    repeat = False
    if kernel == "bicubic":
        function, radius, repeat = _cubic(antialias=antialias)
    elif kernel in {"lanczos3", "lanczos5"}:
        radius = float(kernel[-1])
        function = _lanczos(radius)
    elif kernel == "bilinear":
        function, radius = (lambda x: np.maximum(0.0, 1.0 - x)), 1.0
    else:
        raise UnsupportedOp(f"the interpolation {kernel!r} has no translation; use bilinear")
    scale = size / target
    stretch = max(scale, 1.0) if antialias else 1.0
    centres = (np.arange(target) + 0.5) * scale - 0.5
    reach = int(np.ceil(radius * stretch)) + 1
    places = np.arange(-reach, size + reach)
    weights = function(np.abs(centres[:, None] - places[None, :]) / stretch)
    inside = weights[:, reach:-reach].copy()
    if repeat:
        inside[:, 0] += weights[:, :reach].sum(axis=1)
        inside[:, -1] += weights[:, -reach:].sum(axis=1)
    total = inside.sum(axis=1, keepdims=True)
    return np.asarray(inside / np.where(total == 0, 1.0, total))
