"""Models that Keras has quantized: the file has their integers, and answers as Keras' quantized model does."""

import collections
import hashlib

import keras
import numpy as np
import onnx
import pytest
from comparing import call, compare, session
from keras import layers as L

from mnistkit.core.errors import ParityError, UnsupportedError
from mnistkit.export import export_onnx
from mnistkit.export.choose import choose
from mnistkit.export.native import registry
from mnistkit.export.native.quantized_calls import StoredWeight

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* `quantize` method:UserWarning"),
    pytest.mark.filterwarnings("ignore:Invalid quantization mode:UserWarning"),  # tables have no float8
    pytest.mark.filterwarnings("ignore:The use of `x.T`:UserWarning"),  # of a vector, in Keras' own layer under PyTorch
]

Q = keras.quantizers
CONFIGS = {
    "int8": lambda: ("int8", None),
    "int4": lambda: ("int4", None),
    "float8": lambda: ("float8", None),
    # Keras 3.13 brought configurations
    "int8, weights alone": lambda: (None, Q.Int8QuantizationConfig(activation_quantizer=None)),
    "int4, groups of 4": lambda: (None, Q.Int4QuantizationConfig(block_size=4)),
    "int4, channels": lambda: (None, Q.Int4QuantizationConfig(block_size=None)),
    "int4, channels and activations": lambda: (
        None,
        Q.Int4QuantizationConfig(block_size=None, activation_quantizer=Q.AbsMaxQuantizer()),
    ),
}
TYPES = {"int8": "INT8", "int4": "INT4", "float8": "FLOAT8E4M3FN"}


def quantize(model, name, **options):
    """Quantize a model with weights that every machine computes alike: multiples of 1/2048."""
    for variable in model.variables:
        if str(variable.dtype).startswith("float"):
            numbers = np.arange(np.prod(variable.shape, dtype=int)) * 7919 % 1000 - 400
            variable.assign((numbers / 2048).astype("float32").reshape(variable.shape))
    try:
        mode, config = CONFIGS[name]()
        if config is None:
            model.quantize(mode, **options)
        else:
            model.quantize(config=config, **options)
    except (AttributeError, TypeError) as error:
        pytest.skip(f"Keras {keras.__version__} lacks {name}: {error}; use Keras 3.15")
    return model


def stored_types(proto):
    kinds = (onnx.TensorProto.DataType.Name(tensor.data_type) for tensor in proto.graph.initializer)
    return collections.Counter(kinds)


def dense():
    return keras.Sequential([keras.Input((None, 10), name="x"), L.Dense(7, activation="relu"), L.Dense(5)])


def einsum():
    return keras.Sequential(
        [
            keras.Input((None, 10), name="x"),
            L.EinsumDense("abc,cde->abde", (None, 3, 4), bias_axes="de"),
            L.EinsumDense("abde,dec->abc", (None, 6), bias_axes="c"),
            L.EinsumDense("abc,cd->adb", (5, None)),
        ]
    )


def embedding():
    return keras.Sequential([keras.Input((None,), dtype="int32", name="x"), L.Embedding(30, 9)])


def reversible(*, tie_weights):
    if not hasattr(L, "ReversibleEmbedding"):
        pytest.skip(f"Keras {keras.__version__} has no ReversibleEmbedding; use Keras 3.12 or newer")
    tokens = keras.Input((None,), dtype="int32", name="x")
    layer = L.ReversibleEmbedding(30, 9, tie_weights=tie_weights, logit_soft_cap=3.0)
    return keras.Model(tokens, layer(layer(tokens), reverse=True))


def transformer():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = L.Embedding(40, 16)(tokens)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 8)(x, x))
    y = L.Dense(16)(L.Dense(32, activation="gelu")(x))
    x = L.LayerNormalization()(x + y)
    return keras.Model(tokens, L.Dense(3, activation="softmax")(x[:, 0]))


MODELS = {
    "dense": dense,
    "einsum": einsum,
    "embedding": embedding,
    "tied": lambda: reversible(tie_weights=True),
    "untied": lambda: reversible(tie_weights=False),
    "transformer": transformer,
}
CASES = [
    *((model, mode) for model in ("dense", "einsum", "transformer") for mode in TYPES),
    *((model, mode) for model in ("embedding", "tied", "untied") for mode in ("int8", "int4", "int4, groups of 4")),
    *((model, mode) for model in ("dense", "einsum") for mode in CONFIGS if mode not in TYPES),
    ("tied", "int4, channels"),
]


def written(model):
    return choose(model, "native", opset=None, optimize=True, batch=None).proto


def largest_difference(model, proto, x):
    answers = session(proto).run(None, {proto.graph.input[0].name: x})
    return compare(call(model, x, []), answers, atol=1e-5)


def sample_for(model):
    rng = np.random.default_rng(1)
    spec = model.inputs[0]
    shape = (2, *(3 if size is None else size for size in spec.shape[1:]))
    return (
        rng.integers(0, 30, shape).astype("int32")
        if spec.dtype == "int32"
        else rng.normal(size=shape).astype("float32")
    )


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_file_answers_as_the_quantized_model(name, mode):
    model = quantize(MODELS[name](), mode)
    proto = written(model)
    largest_difference(model, proto, sample_for(model))
    assert stored_types(proto)[TYPES[mode.split(",")[0]]] >= 1


# What Keras 3.15.1 computes; the same in the runs of all three backends.
DIGESTS = {
    ("einsum", "int8"): "c869c86337f0f0f867b3b58d4fff3dd470b4fb6997c08d183c2aaa1b2ae56488",
    ("einsum", "int8, weights alone"): "618eb2c787d6545f9fe8c0b3613b63fa5d7e9c547913b0de142690d1df3c1a76",
    ("einsum", "int4, channels and activations"): "970d0520f760a6fe60d0ce53d59a2ed0510de6af626b0735f770b8bf072971ab",
    ("tied", "int4, groups of 4"): "3adecd9ff7343ff30b9b671ee0c2ef30bb2908a56ef230c87072a57f818c7d35",
    ("transformer", "float8"): "956850af9b943c4d5bd53e30c6a965c7b5a9fb67619fd60cf36b2b22c97287f0",
}


@pytest.mark.skipif(keras.__version__ != "3.15.1", reason="each version of Keras quantizes in its own way; use 3.15.1")
@pytest.mark.parametrize(("name", "mode"), DIGESTS)
def test_the_bytes_are_the_same_on_every_backend(name, mode):
    proto = written(quantize(MODELS[name](), mode))
    assert hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest() == DIGESTS[name, mode]


# -- the whole way ----------------------------------------------------------------------------------------------------


def test_a_saved_model_is_exported_and_verified(tmp_path):
    quantize(dense(), "int8").save(tmp_path / "model.keras")
    report = export_onnx(tmp_path / "model.keras", tmp_path / "model.onnx")
    assert report.exporter == "native"
    assert report.largest < 1e-5
    assert stored_types(onnx.load(tmp_path / "model.onnx"))["INT8"] == 2


def test_a_file_with_another_scale_is_refused(tmp_path, monkeypatch):
    handler = registry.find_op(StoredWeight)

    def halved(graph, op, weight):
        value = handler(graph, op, weight)
        return graph.const(value.const * 1.01) if weight.variable.name == "kernel_scale" else value

    monkeypatch.setitem(registry._LOWERINGS, StoredWeight, halved)
    with pytest.raises(ParityError, match="differ"):
        export_onnx(quantize(dense(), "int8"), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "share"), [("int8", 0.27), ("int4", 0.16), ("float8", 0.27)])
def test_the_size(mode, share):
    layers = [keras.Input((256,), name="x"), L.Dense(256), L.Dense(256)]
    size = len(written(keras.Sequential(layers)).SerializeToString())
    assert len(written(quantize(keras.Sequential(layers), mode)).SerializeToString()) <= share * size


def test_a_tied_table_is_stored_once():
    model = keras.Input((4,), dtype="int32", name="x")
    layer = L.ReversibleEmbedding(600, 128)
    model = quantize(keras.Model(model, layer(layer(model), reverse=True)), "int4")
    assert len(written(model).SerializeToString()) < 0.16 * 4 * 600 * 128


# -- calibrated modes -------------------------------------------------------------------------------------------------


def calibrated(mode, *, bits=4, order=None):
    """A layer as a calibration leaves it, with numbers from a seed."""
    config = {"gptq": "GPTQConfig", "awq": "AWQConfig"}[mode]
    if not hasattr(Q, config):
        pytest.skip(f"Keras {keras.__version__} has no keras.quantizers.{config}; use Keras 3.15")
    options = {"weight_bits": bits} if mode == "gptq" else {}
    layer = L.EinsumDense("abc,cde->abde", (None, 3, 4), bias_axes="de")
    model = keras.Sequential([keras.Input((None, 12), name="x"), layer])
    layer.quantize(mode, config=getattr(Q, config)(dataset=[], tokenizer=None, group_size=4, **options))
    rng = np.random.default_rng(3)
    for name, high in (("quantized_kernel", 256), ("kernel_zero", 2**bits)):
        variable = getattr(layer, name)
        variable.assign(rng.integers(0, high if name == "kernel_zero" else min(256, 4**bits), variable.shape))
    layer.kernel_scale.assign(rng.uniform(0.01, 0.1, layer.kernel_scale.shape))
    layer.g_idx.assign(np.arange(12) // 4 if order is None else order)
    if mode == "awq":
        layer.awq_scales.assign(rng.uniform(0.5, 2, layer.awq_scales.shape))
    setattr(layer, f"is_{mode}_calibrated", True)
    return model


@pytest.mark.parametrize(
    ("mode", "options", "stored"),
    [
        ("gptq", {}, "UINT4"),
        ("gptq", {"bits": 8}, "UINT8"),
        ("gptq", {"order": np.arange(12) * 5 % 12 // 4}, "UINT4"),  # by activation: groups are not in order
        ("awq", {}, "UINT4"),
    ],
)
def test_calibrated_modes(mode, options, stored):
    model = calibrated(mode, **options)
    proto = written(model)
    largest_difference(model, proto, sample_for(model))
    assert stored_types(proto)[stored] >= 1


# -- what stands beside -----------------------------------------------------------------------------------------------


def test_some_layers_are_quantized_and_some_not():
    model = dense()
    model.layers[0].quantize("int8")
    proto = written(model)
    largest_difference(model, proto, sample_for(model))
    assert stored_types(proto)["INT8"] == 1


@pytest.mark.parametrize(("name", "mode"), [("dense", "int8"), ("embedding", "int4")])
def test_lora_on_a_quantized_layer(name, mode):
    model = quantize(MODELS[name](), mode)
    layer = model.layers[-1]
    layer.enable_lora(2)
    for variable in layer.variables:
        if "lora" in variable.name:
            variable.assign(np.linspace(-1, 1, int(np.prod(variable.shape))).reshape(variable.shape))
    largest_difference(model, written(model), sample_for(model))


def test_a_quantized_model_in_bfloat16(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = quantize(keras.Sequential([keras.Input((6,)), L.Dense(4)]), "int8")
    finally:
        keras.config.set_dtype_policy("float32")
    report = export_onnx(model, tmp_path / "model.onnx")
    assert report.largest < 1e-5
    assert model.layers[0].dtype_policy.name == "int8_from_mixed_bfloat16"


def test_a_mode_that_a_layer_does_not_compute_is_refused_by_name(tmp_path):
    class Odd(L.Layer):
        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((3,)), Odd(name="odd", dtype="int8_from_float32")])
    with pytest.raises(
        UnsupportedError, match=r"odd .*quantized to int8, which Keras does not compute for it .*dtype_policy"
    ):
        export_onnx(model, tmp_path / "model.onnx", exporter="native")


@pytest.mark.parametrize(("opset", "mode"), [(20, "int4"), (18, "float8")])
def test_an_older_opset_is_refused_with_the_one_needed(opset, mode):
    with pytest.raises(UnsupportedError, match=rf"needs opset {21 if mode == 'int4' else 19}"):
        choose(quantize(dense(), mode), "native", opset=opset, optimize=True, batch=None)


def test_the_model_itself_stays_as_it_is():
    model = quantize(dense(), "int4")
    before = {variable.path: variable.numpy().copy() for variable in model.variables}
    written(model)
    assert all(isinstance(value, keras.Variable) for value in (model.layers[0]._kernel, model.layers[0].kernel_scale))
    assert all(np.array_equal(before[variable.path], variable.numpy()) for variable in model.variables)


def test_products_of_int8_hold_their_sums():
    """127 * 127 * 40 is over 16 bits."""
    x = keras.Input((40,), dtype="int8", name="x")
    model = keras.Model(x, keras.ops.matmul(x, keras.ops.full((40, 2), 127, "int8")))
    proto = written(model)
    largest_difference(model, proto, np.full((2, 40), 127, "int8"))
