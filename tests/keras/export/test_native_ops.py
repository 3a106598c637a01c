"""Every kind of operation, in the functional graph, against Keras at several sizes; each with its negative twins.

Two kinds of twins run with every case: the file with the result of one node changed must not agree with Keras, and
neither must nonsense in place of the answer (zeros, ones, the input itself), so that the data exercise the operation.
"""

import keras
import numpy as np
import pytest
from comparing import NONSENSE, agree, draw
from keras import ops

from mnistkit.export.native import keras_hooks, registry

F, I, B = "float32", "int32", "bool"
V = (None, 6)  # a free axis beside the batch

UNARY = [
    "abs",
    "fabs",
    "ceil",
    "floor",
    "round",
    "trunc",
    "sign",
    "square",
    "exp",
    "exp2",
    "expm1",
    "sin",
    "cos",
    "tan",
    "arctan",
    "sinh",
    "cosh",
    "tanh",
    "arcsinh",
    "erf",
    "negative",
    "relu",
    "relu6",
    "sigmoid",
    "sparse_sigmoid",
    "softplus",
    "softsign",
    "soft_shrink",
    "sparse_plus",
    "silu",
    "squareplus",
    "log_sigmoid",
    "leaky_relu",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "elu",
    "selu",
    "celu",
    "gelu",
    "glu",
    "tanh_shrink",
    "hard_shrink",
    "softmax",
    "log_softmax",
    "sparsemax",
    "isnan",
    "isinf",
    "isfinite",
    "isposinf",
    "isneginf",
    "ones_like",
    "zeros_like",
    "deg2rad",
    "rad2deg",
    "sinc",
    "cbrt",
    "erfc",
    "nan_to_num",
    "signbit",
    "isreal",
    "max",
    "min",
    "mean",
    "sum",
    "prod",
    "var",
    "std",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "argsort",
    "sort",
    "logsumexp",
    "count_nonzero",
    "ravel",
    "median",
    "ptp",
    "nansum",
    "nanmean",
    "nanmax",
    "nanmin",
    "nanvar",
    "nanstd",
    "nanprod",
    "stop_gradient",
    "copy",
    "normalize",
    "rms_normalization",
    "flip",
    "average",
    "array",
    "logical_not",
]
POSITIVE = ["sqrt", "rsqrt", "log", "log2", "log10", "reciprocal", "arccosh"]
SMALL = ["arcsin", "arccos", "arctanh", "log1p"]
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "maximum",
    "minimum",
    "fmax",
    "fmin",
    "equal",
    "not_equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "arctan2",
    "divide_no_nan",
    "isclose",
    "heaviside",
    "append",
    "mod",
    "fmod",
    "floor_divide",
]

CASES = {
    "any": ([V], [B], lambda x: ops.any(x[..., :2], axis=-1)),
    "all": ([V], [B], lambda x: ops.all(x[..., :2], axis=-1)),
    "any-of-numbers": ([V], [F], lambda x: ops.any(ops.relu(x[..., :2]), axis=-1)),
    "add-int-float": ([(4,), (4,)], [I, F], lambda a, b: a + b),
    "add-bool": ([(4,), (4,)], [B, B], lambda a, b: ops.add(a, b)),
    "divide-int": ([(4,), (4,)], [I, I], lambda a, b: ops.divide(a, b + 1)),
    "floor-divide-negative": ([(4,), (4,)], [I, I], lambda a, b: ops.floor_divide(a - 3, b + 1)),
    "mod-negative": ([(4,), (4,)], [I, I], lambda a, b: ops.mod(a - 3, b + 1)),
    "mod-negative-divisor": ([(4,), (4,)], [F, F], lambda a, b: ops.mod(a, -ops.abs(b) - 0.5)),
    "power": ([(4,)], [F], lambda x: ops.power(ops.abs(x), 1.7) + ops.square(x) + x**3),
    "bitwise": (
        [(4,), (4,)],
        [I, I],
        lambda a, b: ops.left_shift(a, b) + ops.right_shift(a + 9, b) - ops.bitwise_not(a),
    ),
    "clip": ([V], [F], lambda x: ops.clip(x, -0.5, 0.7)),
    "clip-tensor": ([V, V], [F, F], lambda x, y: ops.clip(x, ops.minimum(y, 0), 0.5)),
    "where": ([V, V], [F, F], lambda x, y: ops.where(x > y, x, 0.0)),
    "select": ([V], [F], lambda x: ops.select([x > 1, x > 0], [x, x * 2], 3.0)),
    "cast": ([V], [F], lambda x: ops.cast(ops.cast(x * 3, "int32"), "float32")),
    "saturate-cast": ([V], [F], lambda x: ops.saturate_cast(x * 200, "uint8")),
    "gelu-exact": ([V], [F], lambda x: ops.gelu(x, approximate=False)),
    "celu-alpha": ([V], [F], lambda x: ops.celu(x, 2.0) + ops.elu(x, alpha=0.5) + ops.leaky_relu(x, 0.1)),
    "threshold": ([V], [F], lambda x: ops.threshold(x, 0.3, -2.0)),
    "glu-axis": ([(4, 6)], [F], lambda x: ops.glu(x, axis=1)),
    "softmax-axis": ([V], [F], lambda x: ops.softmax(x, axis=1)),
    "softmax-axes": ([V], [F], lambda x: ops.softmax(x, axis=(1, 2))),
    "softmax-all-axes": ([(3, 4)], [F], lambda x: ops.softmax(x, axis=(1, 2)) + ops.log_softmax(x, axis=-2)),
    "sum-axis": ([V], [F], lambda x: ops.sum(x, axis=1) + ops.max(x, axis=1)),
    "mean-keepdims": ([V], [F], lambda x: x - ops.mean(x, axis=(1, 2), keepdims=True)),
    "sum-int": ([V], [I], lambda x: ops.sum(x, axis=1)),
    "mean-int": ([V], [I], lambda x: ops.mean(x, axis=-1)),
    "max-bool": ([V], [B], lambda x: ops.sum(x, axis=1)),
    "max-initial": ([V], [F], lambda x: ops.max(x, axis=-1, initial=0.3)),
    "moments": ([V], [F], lambda x: ops.concatenate(ops.moments(x, axes=[1]), axis=-1)),
    "argmax-axis": ([V], [F], lambda x: ops.argmax(x, axis=1)),
    "argmax-keepdims": ([V], [F], lambda x: ops.argmax(x, axis=-1, keepdims=True)),
    "cumsum": ([V], [F], lambda x: ops.cumsum(x, axis=1)),
    "cumsum-int-flat": ([(4,)], [I], lambda x: ops.cumsum(x)),
    "cumprod": ([V], [F], lambda x: ops.cumprod(x, axis=1)),
    "diff": ([V], [F], lambda x: ops.diff(x, n=2, axis=-1)),
    "quantile": ([(8,)], [F], lambda x: ops.quantile(x, [0.1, 0.5, 0.77], axis=-1)),
    "percentile": ([(8,)], [F], lambda x: ops.percentile(x, 30, axis=-1, keepdims=True)),
    "matmul": ([V, (6, 5)], [F, F], lambda a, b: ops.matmul(a, b)),
    "matmul-vector": ([V, (6,)], [F, F], lambda a, b: ops.matmul(a, ops.expand_dims(b, -1))),
    "dot": ([(6,)], [F], lambda a: ops.dot(a, np.ones((6, 2), "float32"))),
    "tensordot": ([V], [F], lambda a: ops.tensordot(a, np.ones((6, 2, 3), "float32"), axes=[[2], [0]])),
    "einsum-weights": ([V], [F], lambda a: ops.einsum("btd,dhk->bthk", a, np.ones((6, 2, 3), "float32"))),
    "einsum-ellipsis": ([V], [F], lambda a: ops.einsum("...d,dk->...k", a, np.ones((6, 2), "float32"))),
    "einsum-two": ([V, V], [F, F], lambda a, b: ops.einsum("btd,bsd->bts", a, b)),
    "outer": ([(3,)], [F], lambda a: ops.outer(a, a)),
    "inner": ([(3,)], [F], lambda a: ops.inner(a, np.ones((2, 3), "float32"))),
    "kron": ([(3,)], [F], lambda a: ops.kron(np.eye(2, dtype="float32"), a)),
    "cross": ([(3,), (3,)], [F, F], lambda a, b: ops.cross(a, b)),
    "reshape": ([V], [F], lambda x: ops.reshape(x, (-1, 3))),
    "reshape-free": ([V], [F], lambda x: ops.reshape(x, (ops.shape(x)[0], ops.shape(x)[1], 2, 3))),
    "reshape-merge": ([V], [F], lambda x: ops.reshape(x, (ops.shape(x)[0], -1))),
    "swapaxes": ([V], [F], lambda x: ops.swapaxes(x, 1, 2)),
    "moveaxis": ([(3, 4, 5)], [F], lambda x: ops.moveaxis(x, [1, 3], [3, 2])),
    "expand-squeeze": ([V], [F], lambda x: ops.squeeze(ops.expand_dims(x, (1, -1)), 1)),
    "concatenate": ([V, V], [F, I], lambda a, b: ops.concatenate([a, b], axis=1)),
    "stack": ([V, V], [F, F], lambda a, b: ops.stack([a, b], axis=-2)),
    "hstack": ([V, V], [F, F], lambda a, b: ops.hstack([a, b])),
    "split": ([V], [F], lambda x: ops.split(x, 3, axis=-1)[1]),
    "split-indices": ([V], [F], lambda x: ops.split(x, [1, 4], axis=-1)),
    "unstack": ([V], [F], lambda x: ops.unstack(x, 6, axis=-1)[2]),
    "flip-axis": ([V], [F], lambda x: ops.flip(x, axis=1)),
    "rot90": ([(4, 5)], [F], lambda x: ops.rot90(x, k=3, axes=(1, 2))),
    "roll": ([V], [F], lambda x: ops.roll(x, 2, axis=2)),
    "roll-free": ([V], [F], lambda x: ops.roll(x, -2, axis=1)),
    "roll-two": ([(4, 5)], [F], lambda x: ops.roll(x, (1, -2), axis=(1, 2))),
    "tile": ([V], [F], lambda x: ops.tile(x, (1, 2, 3))),
    "repeat": ([V], [F], lambda x: ops.repeat(x, 3, axis=1)),
    "repeat-each": ([(3,)], [F], lambda x: ops.repeat(x, np.array([1, 0, 2]), axis=1)),
    "pad": ([V], [F], lambda x: ops.pad(x, [(0, 0), (1, 2), (0, 3)], constant_values=2.0)),
    "pad-reflect": ([V], [F], lambda x: ops.pad(x, [(0, 0), (1, 2), (2, 1)], mode="reflect")),
    "pad-edge": ([V], [F], lambda x: ops.pad(x, [(0, 0), (1, 2), (2, 1)], mode="symmetric")),
    "broadcast-to": ([V], [F], lambda x: ops.broadcast_to(x[:, :1], ops.shape(x))),
    "tril": ([(5, 6)], [F], lambda x: ops.tril(x, 1) - ops.triu(x, -1)),
    "diagonal": ([(5, 6)], [F], lambda x: ops.diagonal(x, offset=1, axis1=1, axis2=2)),
    "trace": ([(5, 6)], [F], lambda x: ops.trace(x, axis1=1, axis2=2)),
    "meshgrid": ([V], [F], lambda x: ops.meshgrid(x[0, 0], x[0, 1])[1]),
    "getitem": ([V], [F], lambda x: x[:, 1:-1, ::2]),
    "getitem-int": ([V], [F], lambda x: x[:, -1]),
    "ndim": ([V], [F], lambda x: ops.transpose(x, tuple(range(ops.ndim(x)))[::-1])),
    "getitem-none": ([V], [F], lambda x: x[None]),
    "getitem-slice": ([V], [F], lambda x: x[1:]),
    "getitem-list": ([V], [F], lambda x: x[[slice(None), None, 0]]),
    "getitem-tensor": ([V, ()], [F, I], lambda x, i: x[0][ops.minimum(i, 2)]),
    "getitem-tensor-inside": ([V, (3,)], [F, I], lambda x, i: x[:, ops.minimum(i[0], 2), ..., 1:]),
    "getitem-mixed": ([V], [F], lambda x: x[..., None, 1:4][:, 0]),
    "getitem-reverse": ([V], [F], lambda x: x[:, ::-1, 4:1:-1]),
    "take": ([V], [F], lambda x: ops.take(x, [0, -1, 2], axis=-1)),
    "take-flat": ([V], [F], lambda x: ops.take(x, [0, -1, 2])),
    "take-index": ([V, (3,)], [F, I], lambda x, i: ops.take(x, i, axis=1)),
    "take-along": ([V], [F], lambda x: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1)),
    "take-along-one": ([V], [F], lambda x: ops.take_along_axis(x, ops.argmax(x, axis=1, keepdims=True), axis=1)),
    "top-k": ([V], [F], lambda x: ops.top_k(x, 3)),
    "in-top-k": (
        [(6,)],
        [F],
        lambda x: ops.in_top_k(
            ops.concatenate([ops.argmin(x, axis=-1), ops.argmax(x, axis=-1)]), ops.tile(x, (2, 1)), 5
        ),
    ),
    "sort-axis": ([V], [F], lambda x: ops.sort(x, axis=1)),
    "one-hot": ([V], [I], lambda x: ops.one_hot(x, 5)),
    "one-hot-axis": ([V], [I], lambda x: ops.one_hot(x - 1, 5, axis=1)),
    "multi-hot": ([(4,)], [I], lambda x: ops.multi_hot(x, 6)),
    "slice": ([V], [F], lambda x: ops.slice(x, (0, 1, 2), (ops.shape(x)[0], 2, 3))),
    "slice-update": ([V], [F], lambda x: ops.slice_update(x, (0, 1, 2), x[:, :2, :3] * 2)),
    "scatter-update": ([(6,)], [F], lambda x: ops.scatter_update(x, [[0, 1], [0, 3]], [5.0, 6.0])),
    "arange": ([V], [F], lambda x: x + ops.cast(ops.arange(ops.shape(x)[1]), F)[:, None]),
    "ones-free": ([V], [F], lambda x: ops.ones((ops.shape(x)[0], ops.shape(x)[1])) + x[..., 0]),
    "full-like": ([V], [F], lambda x: ops.full_like(x, 2.5) + x),
    "eye-free": ([V], [F], lambda x: ops.matmul(ops.eye(ops.shape(x)[1]), x)),
    "tri-free": ([V], [F], lambda x: ops.matmul(ops.tri(ops.shape(x)[1]), x)),
    "size-arithmetic": ([V], [F], lambda x: ops.sum(x, axis=1) / ops.cast(ops.shape(x)[1] * 2 + 1, F)),
    "half-length": ([V], [F], lambda x: x[:, : ops.shape(x)[1] // 2]),
    "linspace": ([(3,)], [F], lambda x: ops.linspace(x, x + 2.0, 5, axis=-1)),
    "isin": ([V], [I], lambda x: ops.isin(x, [1, 3])),
    "bincount": ([(4,)], [I], lambda x: ops.bincount(x, minlength=6)),
    "segment-sum": (
        [(4,)],
        [F],
        lambda x: ops.segment_sum(ops.transpose(x), np.array([0, 0, 1, 2], np.int32), num_segments=3),
    ),
    "vander": ([(4,)], [F], lambda x: ops.vander(x[0], 3)),
    "trapezoid": ([(4,)], [F], lambda x: ops.trapezoid(x, dx=0.5)),
    "norm": ([V], [F], lambda x: ops.norm(x, axis=-1) + ops.norm(x, ord=1, axis=-1)),
    "normalize-order": ([V], [F], lambda x: ops.normalize(x, axis=-1, order=3)),
    "extract-sequences": ([(10,)], [F], lambda x: ops.extract_sequences(x, 4, 2)),
    "crossentropy": ([(4,), (4,)], [F, F], lambda t, x: ops.categorical_crossentropy(ops.softmax(t), ops.softmax(x))),
    "cond": ([(4,)], [F], lambda x: ops.cond(ops.sum(x) > 0, lambda: x * 2, lambda: x - 1)),
    "fori-loop": ([(4,)], [F], lambda x: ops.fori_loop(0, 3, lambda i, y: y * 0.5 + i, x)),
    "while-loop": (
        [(4,)],
        [F],
        lambda x: ops.while_loop(lambda y: ops.sum(ops.abs(y)) > 1, lambda y: (y * 0.5,), (x,), maximum_iterations=9)[
            0
        ],
    ),
    "map": ([(3, 4)], [F], lambda x: ops.map(lambda row: row * 2 + 1, ops.transpose(x, (1, 0, 2)))),
    "rearrange": ([(4, 6)], [F], lambda x: ops.rearrange(x, "b h (w c) -> b (h w) c", c=2)),
    "grayscale": ([(8, 8, 3)], [F], lambda x: ops.image.rgb_to_grayscale(x, data_format="channels_last")),
    "hsv": (
        [(8, 8, 3)],
        [F],
        lambda x: ops.image.hsv_to_rgb(
            ops.image.rgb_to_hsv(ops.sigmoid(x), data_format="channels_last"), data_format="channels_last"
        ),
    ),
    "pad-images": ([(8, 8, 3)], [F], lambda x: ops.image.pad_images(x, 1, 2, target_height=12, target_width=13)),
    "crop-images": ([(8, 8, 3)], [F], lambda x: ops.image.crop_images(x, 1, 2, target_height=4, target_width=5)),
    "extract-patches": ([(8, 8, 3)], [F], lambda x: ops.image.extract_patches(x, 3, strides=2, padding="same")),
    "depth-to-space": ([(4, 4, 8)], [F], lambda x: ops.depth_to_space(x, 2)),
    "space-to-depth": ([(4, 4, 8)], [F], lambda x: ops.space_to_depth(x, 2)),
    "adaptive": (
        [(7, 9, 3)],
        [F],
        lambda x: ops.adaptive_average_pool(x, (3, 4)),
    ),
    "attention": (
        [(None, 2, 4), (None, 2, 4)],
        [F, F],
        lambda q, k: ops.dot_product_attention(q, k, k, is_causal=True),
    ),
    "layer-norm-axes": (
        [(3, 4)],
        [F],
        lambda x: ops.layer_normalization(x, axis=1),
    ),
}


class Wrapped(keras.Model):
    """The same function inside a subclassed model, where sizes are asked for while it runs."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(*inputs) if isinstance(inputs, (list, tuple)) else self.function(inputs)


# Functions whose subject is what is not a number, infinite, or minus zero: their data have all of these.
SPECIAL = {"isnan", "isinf", "isfinite", "isposinf", "isneginf", "nan_to_num", "signbit"}
# Functions that leave out what is not a number: their data have some.
WITHOUT_NAN = {"nansum", "nanmean", "nanmax", "nanmin", "nanvar", "nanstd", "nanprod"}
# Functions of truth values, for which half of the numbers are zero.
OF_ZERO = {
    "logical_not", "logical_and", "logical_or", "logical_xor", "count_nonzero", "divide_no_nan", "heaviside",
    "equal", "not_equal", "greater_equal", "less_equal", "isclose", "sign",
}  # fmt: skip


def draw_for(name):
    """Return how to draw the inputs of a case."""

    def drawn(spec, *, batch, length, rng, high=5):
        array = draw(spec, batch=batch, length=length, rng=rng, high=high)
        if array.dtype.kind != "f":
            return array
        if name in SPECIAL:
            array = np.where(rng.random(array.shape) < 0.6, rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0]), array)
            array.reshape(-1)[:5] = [np.nan, np.inf, -np.inf, -0.0, 0.0]
        elif name in {"prod", "nanprod"}:  # numbers whose product is neither next to zero nor huge
            array = np.sign(array) * (1.0 + 0.1 * np.abs(array))
        if name in WITHOUT_NAN:
            array.reshape(-1)[::4] = np.nan
        elif name in OF_ZERO:
            array = np.where(rng.random(array.shape) < 0.5, 0.0, array)
        return array.astype(spec.dtype)

    return drawn


# Answers that are right by being constant, or by being the input: what the twins of nonsense leave out, and why.
ALLOWED = {
    "ones_like": ("ones",),
    "isreal": ("ones",),
    "zeros_like": ("zeros",),
    "stop_gradient": ("input",),
    "copy": ("input",),
    "array": ("input",),
    "eye-free": ("input",),
}


def run(shapes, dtypes, function, name=""):
    specs = [
        keras.KerasTensor((None, *shape), dtype=dtype, name=f"x{i}")
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    ]
    agree(
        Wrapped(function),
        inputs=specs if len(specs) > 1 else specs[0],
        mutant=False,
        nonsense=tuple(kind for kind in NONSENSE if kind not in ALLOWED.get(name, ())),
        nan=name in SPECIAL,
        draw=draw_for(name),
        batches=(2, 3),
        lengths=(6, 9),
    )


# Names of keras.ops that came after these versions.
AFTER_3_13 = {
    "depth_to_space", "erfc", "fabs", "fmax", "fmin", "fmod", "nanmax", "nanmean", "nanmin", "nanprod",
    "nanstd", "nansum", "nanvar", "percentile", "ptp", "rad2deg", "sinc", "space_to_depth",
}  # fmt: skip
AFTER_3_12 = {*AFTER_3_13, "adaptive_average_pool", "vander"}
VERSION = tuple(int(part) for part in keras.__version__.split(".")[:2])
NOT_IN_THIS_KERAS = AFTER_3_12 if VERSION < (3, 13) else AFTER_3_13 if VERSION < (3, 15) else set()


def of_this_keras(name):
    if name in NOT_IN_THIS_KERAS and not hasattr(ops, name):
        pytest.skip(f"Keras {keras.__version__} has no {name}; see NOT_IN_THIS_KERAS")


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    of_this_keras(name)
    run([V], [F], getattr(ops, name), name)


@pytest.mark.parametrize("name", POSITIVE)
def test_positive(name):
    run([V], [F], lambda x: getattr(ops, name)(ops.abs(x) + 1.1))


@pytest.mark.parametrize("name", SMALL)
def test_small(name):
    run([V], [F], lambda x: getattr(ops, name)(ops.tanh(x) * 0.9))


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    of_this_keras(name)
    run([V, V], [F, F], getattr(ops, name), name)


# what Keras' torch backend refuses, warns about, or answers otherwise than the other two
NOT_TORCH = {
    "test_unary[count_nonzero]",  # np.array of a tensor inside
    "test_case[cross]",  # torch warns about its own default
    "test_case[repeat-each]",  # refused
    "test_case[getitem-list]",  # torch is about to read a list as a tensor
    "test_case[getitem-reverse]",  # torch has no negative steps
    "test_case[linspace]",  # refused
    "test_case[pad-edge]",  # symmetric padding repeats the edge there
    "test_case[take-flat]",  # negative indices count from the first axis' length there
    "test_case[layer-norm-axes]",  # refused
}


# TensorFlow's own operators refuse these outside of keras.ops.
NOT_TENSORFLOW = {
    "test_case[add-int-float]",
    "test_case[add-bool]",
    "test_case[getitem-tensor]",
    "test_case[getitem-tensor-inside]",
}
# JAX wants a tuple.
NOT_JAX = {"test_case[getitem-list]"}


@pytest.fixture(autouse=True)
def _other_backends(request):
    if keras.backend.backend() == "torch" and request.node.name in NOT_TORCH:
        pytest.skip("Keras' torch backend differs; see NOT_TORCH")
    if keras.backend.backend() == "jax" and request.node.name in NOT_JAX:
        pytest.skip("JAX refuses it; see NOT_JAX")
    if keras.backend.backend() == "tensorflow" and request.node.name in NOT_TENSORFLOW:
        pytest.skip("Keras' tensorflow backend refuses it; see NOT_TENSORFLOW")


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    for used in CASES[name][2].__code__.co_names:
        of_this_keras(used)
    run(*CASES[name], name)


# What would be right if there were no NaN, no infinity and no minus zero.
WITHOUT_SPECIALS = {
    "isnan": lambda x: ops.zeros_like(x, dtype="bool"),
    "isinf": lambda x: ops.zeros_like(x, dtype="bool"),
    "isposinf": lambda x: ops.zeros_like(x, dtype="bool"),
    "isneginf": lambda x: ops.zeros_like(x, dtype="bool"),
    "isfinite": lambda x: ops.ones_like(x, dtype="bool"),
    "nan_to_num": lambda x: x,
    "signbit": lambda x: ops.less(x, 0),
    "nansum": ops.sum,
    "nanmean": ops.mean,
    "nanmax": ops.max,
    "nanmin": ops.min,
    "nanvar": ops.var,
    "nanstd": ops.std,
    "nanprod": ops.prod,
}


@pytest.mark.parametrize("name", WITHOUT_SPECIALS)
def test_the_data_have_what_the_operation_is_for(name, monkeypatch):
    """The twin: with the function of ordinary numbers in its place, the case fails."""
    of_this_keras(name)
    kind = keras_hooks.operation_of(getattr(ops, name))
    monkeypatch.setitem(registry._DECOMPOSITIONS, kind, lambda _, x: WITHOUT_SPECIALS[name](x))
    with pytest.raises(AssertionError):
        run([V], [F], getattr(ops, name), name)


def test_not_a_number_fails_where_it_is_not_the_point():
    with pytest.raises(AssertionError, match="Keras answers NaN"):
        run([V], [F], lambda x: ops.sqrt(-ops.abs(x) - 1))


def test_every_special_function_has_a_twin():
    assert set(WITHOUT_SPECIALS) == SPECIAL | WITHOUT_NAN
