"""Every elementwise operation over the whole range of its type: tiny, huge, both zeros, infinities, not a number.

A model is trusted with whatever its users feed it. Where Keras gives an answer, the file gives the same one.
"""

import inspect

import keras
import numpy as np
import pytest
from comparing import call, session
from keras import ops, tree

from mnistkit.export.native import convert, keras_hooks, registry

SIZES = [
    0.0, 1e-30, 1e-8, 1e-4, 0.01, 0.1, 0.3, 0.49, 0.5, 0.51, 0.7, 0.99, 0.9999, 1.0, 1.0001, 1.5, 2.0, 2.5, 3.0, 3.5,
    5.0, 6.5, 8.5, 9.5, 10.0, 15.0, 17.0, 20.0, 50.0, 87.0, 88.5, 89.5, 104.0, 180.0, 200.0, 300.0, 1e3, 1e4, 1e6, 1e10,
    1e18, 1e19, 1e20, 1e30, 3e38, np.inf,
]  # fmt: skip
FEW = [0.0, 1e-30, 1e-4, 0.3, 1.0, 2.0, 2.5, 7.0, 90.0, 1e4, 1e20, 3e38, np.inf]

# with one argument; the other lists are those of test_native_ops
UNARY = [
    "abs", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "array", "cbrt", "ceil", "celu", "conj",
    "convert_to_tensor", "copy", "cos", "cosh", "deg2rad", "elu", "erf", "erfc", "exp", "exp2", "expm1", "fabs",
    "floor", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "isfinite", "isinf", "isnan", "isneginf",
    "isposinf", "isreal", "leaky_relu", "log", "log10", "log1p", "log2", "log_sigmoid", "logical_not", "nan_to_num",
    "negative", "ones_like", "rad2deg", "real", "reciprocal", "relu", "relu6", "round", "rsqrt", "selu", "sigmoid",
    "sign", "signbit", "silu", "sin", "sinc", "sinh", "soft_shrink", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "sqrt", "square", "squareplus", "stop_gradient", "tan", "tanh", "tanh_shrink", "trunc",
    "zeros_like",
]  # fmt: skip
VARIANTS = {
    "gelu-exact": lambda x: ops.gelu(x, approximate=False),
    "mish": keras.layers.Activation("mish"),
    "relu-slope-and-top": keras.layers.ReLU(negative_slope=0.1, max_value=4.0, threshold=0.2),
    "exponential": keras.layers.Activation("exponential"),
    "round-decimals": lambda x: ops.round(x, 2),
    "clip": lambda x: ops.clip(x, -0.5, 7.0),
    "threshold": lambda x: ops.threshold(x, 0.3, -2.0),
    "power-3": lambda x: ops.power(x, 3),
    "power-2.5": lambda x: ops.power(x, 2.5),
    "power-half": lambda x: ops.power(x, 0.5),
    "nan_to_num-own": lambda x: ops.nan_to_num(x, nan=1.0, posinf=2.0, neginf=-3.0),
    "logsumexp-pair": lambda x: ops.logsumexp(ops.stack([x, x], axis=-1), axis=-1),
    "log_softmax-pair": lambda x: ops.log_softmax(ops.stack([x, -x / 2], axis=-1), axis=-1),
    "softmax-pair": lambda x: ops.softmax(ops.stack([x, -x / 2], axis=-1), axis=-1),
}
BINARY = [
    "add", "arctan2", "divide", "divide_no_nan", "equal", "floor_divide", "fmax", "fmin", "fmod", "greater",
    "greater_equal", "heaviside", "hypot", "isclose", "less", "less_equal", "logaddexp", "logaddexp2",
    "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "not_equal", "power",
    "subtract",
]  # fmt: skip

# functions of the shape (n,) -> (n,) or (n,), (n,) -> (n,) that are not element by element, and those for integers
OTHER = {
    "argsort",
    "corrcoef",
    "empty_like",
    "flip",
    "fliplr",
    "flipud",
    "layer_normalization",
    "log_softmax",
    "normalize",
    "rms_normalization",
    "softmax",
    "sort",
    "sparsemax",
    "squeeze",
    "tril",
    "triu",
    "view",
    "where",
    "bartlett",
    "blackman",
    "hamming",
    "hanning",
    "kaiser",
    "conv",
    "binary_crossentropy",
    "full_like",
    "isin",
    "polar",
    "roll",
    "take",
    "bitwise_and",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "bitwise_invert",
    "bitwise_not",
    "gcd",
    "lcm",
    "left_shift",
    "right_shift",
}
ALIASES = {"absolute", "conjugate", "hard_swish", "swish", "true_divide"}


def values(dtype, sizes):
    largest = float(np.finfo(dtype).max)
    found = [size for size in sizes if not np.isfinite(size) or size <= largest]
    return np.asarray([*found, *(-size for size in found), np.nan], dtype)


def available(names):
    return [name for name in names if hasattr(ops, name)]


def answers(function, arrays):
    """Return (Keras' answer, the file's)."""
    inputs = [keras.Input((), dtype=str(a.dtype), name=f"x{i}") for i, a in enumerate(arrays)]
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], function(*inputs))
    written = convert(model)
    structure = arrays if len(arrays) > 1 else arrays[0]
    with np.errstate(all="ignore"):
        expected = call(model, structure, [])
    runner = session(written.proto)
    wanted = {x.name for x in runner.get_inputs()}
    feed = {name: a for name, a in zip(tree.flatten(written.inputs), arrays, strict=True) if name in wanted}
    return expected[0], runner.run(tree.flatten(written.outputs), feed)[0]


def differing(expected, got):
    """Say where the answers differ: NaN, infinities and truth values exactly, numbers nearly."""
    assert expected.shape == got.shape
    if expected.dtype.kind in "biu":
        return expected != got
    assert expected.dtype.kind == got.dtype.kind  # Keras' own inference and its answer may differ in width
    half = expected.dtype == np.float16
    a, b = expected.astype("float64"), got.astype("float64")
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= (4e-3 if half else 2e-5) * np.abs(a) + (1e-3 if half else 1e-6)
    return ~((np.isnan(a) & np.isnan(b)) | (a == b) | near)


# Where the file may answer otherwise, by operation: the backends concerned, which arguments, and why.
ALL = ("jax", "tensorflow", "torch")


def rounded_up_or_infinite(a, b):
    """Say where TensorFlow's ``floor(a / b)`` is not what the remainder says."""
    wide = np.floor(a.astype("float64") / b.astype("float64"))
    return (np.floor(a / b) != wide.astype("float32")) | ~np.isfinite(a / b) | np.isinf(b)


def quotient_too_large(a, b):
    """Say where a finite ``a / b`` is over the range of the type."""
    return np.isfinite(a) & np.isinf(a / b) & (b != 0)


DIFFERENT = {
    "gelu-exact": [(("torch",), np.isposinf, "PyTorch answers NaN on some processors; the file infinity")],
    "heaviside": [
        (("torch",), lambda a, _: np.isnan(a), "PyTorch answers 0 for NaN; the file NaN, as NumPy and JAX"),
        (("tensorflow",), lambda a, _: np.isnan(a), "TensorFlow answers the second argument; the file NaN, as NumPy"),
    ],
    "hypot": [(("tensorflow",), lambda a, b: np.isinf(a) | np.isinf(b), "TensorFlow answers NaN; the file infinity")],
    "isclose": [(("tensorflow",), lambda _, b: np.isinf(b), "to TensorFlow every number is close to infinity")],
    "ldexp": [(("tensorflow",), lambda _, power: power <= -127, "TensorFlow's 2 to such a power is 0; the file's not")],
    "fmod": [(("torch",), quotient_too_large, "PyTorch answers NaN; the file and JAX the remainder")],
    "mod": [(("torch",), quotient_too_large, "PyTorch answers NaN; the file and JAX the remainder")],
    "floor_divide": [
        (("tensorflow",), rounded_up_or_infinite, "TensorFlow rounds the quotient, not the remainder"),
        (("tensorflow",), lambda a, b: np.abs(a / b) < 1e-37, "a quotient this small is 0 to TensorFlow; the file -1"),
    ],
    "hard_shrink": [(("torch",), np.isnan, "PyTorch answers NaN; the file 0, as JAX: NaN is above no threshold")],
    "soft_shrink": [(("torch",), np.isnan, "PyTorch answers NaN; the file 0, as JAX: NaN is above no threshold")],
    "threshold": [
        (("torch",), np.isnan, "PyTorch answers NaN; the file the other value, as JAX: NaN is above no threshold"),
        (("torch",), lambda x: x == np.float16(0.3), "PyTorch compares halves with a threshold that is not rounded"),
    ],
    "sign": [(("torch",), np.isnan, "PyTorch answers 0 for NaN; the file NaN, as NumPy and JAX")],
    "softmax-pair": [
        (("tensorflow",), np.isinf, "TensorFlow answers 0 beside the NaN on some processors; the file NaN twice"),
    ],
    "squareplus": [
        (("torch",), lambda x: x < -100, "PyTorch squares otherwise; of two nearly equal numbers little is left"),
        (ALL, lambda x: (x.dtype == np.float16) & (x < -10), "onnxruntime adds halves in float32, where Keras cancels"),
    ],
}


def left_out(name, arrays):
    """Say which places are not compared."""
    places = np.zeros(arrays[0].shape, bool)
    with np.errstate(all="ignore"):
        for backends, skip, _ in DIFFERENT.get(name, ()):
            if keras.backend.backend() in backends:
                places |= skip(*arrays)
    return places


def check(name, function, arrays):
    expected, got = answers(function, arrays)
    wrong = differing(expected, got)
    wrong &= ~left_out(name, arrays).reshape(-1, *[1] * (wrong.ndim - 1))
    places = np.unique(np.nonzero(wrong)[0])[:8]
    listing = "; ".join(f"{[float(a[i]) for a in arrays]}: {got[i]} in place of {expected[i]}" for i in places)
    assert not wrong.any(), f"{int(wrong.sum())} of {wrong.size} answers differ: {listing}"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", [*available(UNARY), *VARIANTS])
def test_one_argument(name, dtype):
    check(name, VARIANTS.get(name) or getattr(ops, name), [values(dtype, SIZES)])


@pytest.mark.parametrize("name", available(BINARY))
def test_two_arguments(name):
    a, b = np.meshgrid(values("float32", FEW), values("float32", FEW))
    check(name, getattr(ops, name), [a.reshape(-1), b.reshape(-1)])


@pytest.mark.skipif(not hasattr(ops, "ldexp"), reason="this Keras has no ldexp")
def test_ldexp():
    x, power = np.meshgrid(values("float32", FEW), np.asarray([-150, -127, -30, -1, 0, 1, 30, 127, 128, 150], "int32"))
    check("ldexp", ops.ldexp, [x.reshape(-1), power.reshape(-1)])


def test_every_elementwise_operation_of_keras_is_here():
    """A function of a new Keras that takes one or two arrays and gives one of their shape is listed or is a failure."""
    x = keras.KerasTensor((2, 8), "float32")
    known = {*UNARY, *BINARY, *OTHER, *ALIASES, "ldexp"}
    missing = []
    for name, function in inspect.getmembers(ops, inspect.isfunction):
        needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        if len(needed) not in (1, 2) or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in needed):
            continue
        try:
            output = function(*[x] * len(needed))
        except Exception:  # noqa: BLE001, S112  it wants something else than arrays
            continue
        if isinstance(output, keras.KerasTensor) and output.shape == x.shape and name not in known:
            kind = keras_hooks.operation_of(function)
            if kind is None or registry.find_op(kind) or registry.find_decomposition(kind):
                missing.append(name)
    assert missing == []


WRONG = {
    "expm1": lambda x: 2 * ops.sinh(x / 2) * ops.exp(x / 2),
    "isnan": lambda x: ops.zeros_like(x, dtype="bool"),
    "isfinite": lambda x: ops.ones_like(x, dtype="bool"),
    "nan_to_num": lambda x: x,
    "signbit": lambda x: x < 0,
    "sigmoid": lambda x: ops.exp(x) / (1 + ops.exp(x)),
    "softplus": lambda x: ops.log(1 + ops.exp(x)),
    "tanh": lambda x: (ops.exp(2 * x) - 1) / (ops.exp(2 * x) + 1),
    "cbrt": lambda x: ops.power(x, 1 / 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_formula_that_is_right_near_zero_alone_is_noticed(name):
    """The twin: each of these agrees with Keras for numbers of ordinary size."""
    arrays = [values("float32", SIZES)]
    expected, _ = answers(getattr(ops, name), arrays)
    _, got = answers(WRONG[name], arrays)
    assert differing(expected, got).any()
