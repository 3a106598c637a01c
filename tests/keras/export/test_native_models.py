"""Whole small models, written and compared."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from comparing import agree, compare, redraw
from keras import layers as L
from keras_versions import SHIFTED_TRANSPOSE

from mnistkit.core.errors import ExportError, InputError, UnsupportedError
from mnistkit.export.native import convert, find_unsupported, register_layer


def tutorial():
    return keras.Sequential(
        [keras.Input((784,), name="image"), L.Dense(32, activation="relu"), L.Dense(10, activation="softmax")]
    )


def test_tutorial():
    written = agree(redraw(tutorial()))
    assert written.inputs == "image"
    assert [node.op_type for node in written.proto.graph.node] == ["Gemm", "Relu", "Gemm", "Softmax"]


def test_same_bytes_whatever_was_made_before():
    first = redraw(tutorial())
    tutorial(), tutorial()
    other = redraw(tutorial())
    assert convert(first).proto.SerializeToString() == convert(other).proto.SerializeToString()


def test_other_weights_give_other_bytes():
    first, other = redraw(tutorial()), redraw(tutorial(), seed=1)
    assert convert(first).proto.SerializeToString() != convert(other).proto.SerializeToString()


def test_the_model_is_left_as_it_was():
    model = tutorial()
    before = [len(layer._inbound_nodes) for layer in model.layers]
    convert(model)
    assert [len(layer._inbound_nodes) for layer in model.layers] == before
    assert model.predict(np.zeros((2, 784), "float32"), verbose=0).shape == (2, 10)


def cnn():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            L.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            L.BatchNormalization(),
            L.MaxPooling2D(),
            L.DepthwiseConv2D(3, padding="same"),
            L.SeparableConv2D(8, 3),
            L.Conv2DTranspose(4, 3, strides=2, padding="same"),
            L.AveragePooling2D(2, padding="same"),
            L.Flatten(),
            L.Dropout(0.5),
            L.LayerNormalization(),
            L.Dense(10, activation="gelu"),
        ]
    )


same_transpose = pytest.mark.skipif(SHIFTED_TRANSPOSE, reason="see SHIFTED_TRANSPOSE: an older Keras on PyTorch")


@same_transpose
@pytest.mark.parametrize("optimize", [True, False])
def test_cnn(optimize):
    agree(redraw(cnn()), optimize=optimize)


def test_layer_outputs_name_every_layer():
    written = convert(redraw(cnn()), layer_outputs=True)
    assert list(written.layers)[:3] == ["conv2d", "batch_normalization", "max_pooling2d"]
    names = {output.name for output in written.proto.graph.output}
    assert all(name in names for outputs in written.layers.values() for name in outputs)


@same_transpose
def test_unet_with_free_height_and_width():
    x = inputs = keras.Input((None, None, 3))
    a = L.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = L.MaxPooling2D(padding="same")(a)
    x = L.Conv2D(8, 3, padding="same", strides=2)(x)
    x = L.UpSampling2D(2)(x)
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    x = L.Concatenate()([a, x])
    model = keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(x))
    agree(redraw(model), lengths=(16, 24))


def transformer():
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = L.Embedding(12, 16, mask_zero=True)(tokens)
    positions = L.Lambda(lambda t: keras.ops.cast(keras.ops.arange(keras.ops.shape(t)[1]), "float32")[None, :, None])(x)
    x = L.Add()([x, positions])
    y = L.MultiHeadAttention(2, 8)(x, x, use_causal_mask=True)
    x = L.LayerNormalization()(x + y)
    y = L.Dense(32, activation="gelu")(x)
    x = L.LayerNormalization()(x + L.Dense(16)(y))
    return keras.Model(tokens, L.Dense(12)(x))


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning")  # Keras says so while building
def test_transformer_block_with_free_length():
    agree(redraw(transformer()))


def optimized(model, path):
    """The operators that onnxruntime runs, after its own fusions."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(convert(model).proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning")  # Keras says so while building
def test_attention_is_matrix_products():
    """onnxruntime's Einsum takes two to three times as long."""
    kinds = [node.op_type for node in convert(redraw(transformer())).proto.graph.node]
    assert "Einsum" not in kinds
    assert kinds.count("MatMul") >= 6


@pytest.mark.parametrize(("approximate", "fused"), [(True, "FastGelu"), (False, "Gelu")])
def test_onnxruntime_recognizes_gelu(approximate, fused, tmp_path):
    inputs = keras.Input((4,))
    bent = keras.ops.gelu(L.Dense(3)(inputs), approximate=approximate)
    model = redraw(keras.Model(inputs, L.Dense(2)(bent)))
    agree(model)
    found = optimized(model, tmp_path / "model.onnx")
    assert fused in found or f"Bias{fused}" in found
    assert not {"Tanh", "Erf"} & set(found)


@pytest.mark.parametrize(
    "equation",
    ["abcd,aecd->acbe", "acbe,aecd->abcd", "abc,abd->acd", "ab,acb->ac", "bij,bjk->bki", "abc,cb->ab", "aib,ajb->jia"],
)
def test_products_of_stacks_are_those_of_einsum(equation):
    left, right = (
        tuple(2 + "abcdeijk".index(letter) for letter in part) for part in equation.split("->")[0].split(",")
    )
    a, b = keras.Input(batch_shape=left), keras.Input(batch_shape=right)
    agree(keras.Model([a, b], keras.ops.einsum(equation, a, b)))


def test_comparison_by_the_operator_is_an_operation():
    """Keras' symbolic tensors know no ``==``; real ones do, and layers rely on it."""

    class Others(L.Layer):
        def call(self, x):
            places = keras.ops.arange(keras.ops.shape(x)[1])
            itself = keras.ops.expand_dims(places, 1) == places
            return keras.ops.matmul(keras.ops.where(itself, 0.0, 1.0), x) + keras.ops.cast(x[..., :1] == 0.0, x.dtype)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, x.dtype)

    inputs = keras.Input((None, 3))
    agree(redraw(keras.Model(inputs, L.Dense(2)(Others()(inputs)))))
    assert "__eq__" not in vars(keras.KerasTensor)


def past_keras_ops(x):
    """What a layer may do under one backend: call the framework itself."""
    name = keras.config.backend()
    if name == "tensorflow":
        import tensorflow as tf

        return tf.math.cumsum(x, axis=1)
    if name == "torch":
        import torch

        return torch.cumsum(x, dim=1)
    if name == "jax":
        import jax.numpy as jnp

        return jnp.cumsum(x, axis=1)
    return keras.ops.cumsum(x, axis=1)


def test_a_layer_that_calls_the_framework_where_it_can():
    class Sums(L.Layer):
        def call(self, x):
            return past_keras_ops(x)

    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, L.Dense(2)(Sums()(inputs)))
    agree(redraw(model))
    assert keras.config.backend() == keras.backend.backend() != "numpy"


def test_a_layer_that_knows_no_other_backend_than_this_one():
    here = keras.config.backend()

    class Picky(L.Layer):
        def call(self, x):
            if keras.config.backend() != here:
                raise NotImplementedError(keras.config.backend())
            return keras.ops.tanh(x)

    inputs = keras.Input((None, 3))
    agree(redraw(keras.Model(inputs, L.Dense(2)(Picky()(inputs)))))


def test_sound_sample_by_sample():
    """Strides that leave nothing of a few hundred samples."""
    x = inputs = keras.Input((None, 1))
    for filters, kernel, stride in ((4, 127, 64), (6, 7, 3), (6, 3, 2)):
        x = L.Conv1D(filters, kernel, strides=stride, activation="tanh")(x)
    agree(redraw(keras.Model(inputs, L.LSTM(5)(x))), lengths=(2000, 3001))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = L.Dense(8, activation="tanh")
        self.second = L.Dense(3)

    def call(self, inputs, *, training=False):
        x = self.first(inputs)
        if training:
            x = keras.random.dropout(x, 0.5)
        return {"logits": self.second(x), "norm": keras.ops.sum(keras.ops.square(x), axis=-1)}


def test_subclassed_model_with_dict_outputs():
    model = Subclassed()
    model(np.zeros((2, 5), "float32"))
    written = agree(redraw(model))
    assert written.outputs == {"logits": "logits", "norm": "norm"}


def test_subclassed_model_never_called():
    with pytest.raises(ExportError, match="call it once"):
        convert(Subclassed())


def test_shared_layer_and_dict_inputs():
    shared = L.Dense(6, activation="relu", name="shared")
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    model = keras.Model({"left": left, "right": right}, [L.Subtract()([shared(left), shared(right)]), shared(left)])
    written = agree(redraw(model))
    assert written.inputs == {"left": "left", "right": "right"}
    assert sum(t.name.startswith("shared/kernel") for t in written.proto.graph.initializer) == 1


def test_nested_model():
    inner = keras.Sequential([keras.Input((6,)), L.Dense(5, activation="relu"), L.Dense(4)], name="inner")
    x = keras.Input((6,))
    agree(redraw(keras.Model(x, L.Softmax()(inner(x)))))


class Doubling(L.Layer):
    """Leaves keras.ops for NumPy, which symbolic tensors cannot follow."""

    def call(self, x):
        return keras.ops.convert_to_tensor(np.asarray(x) * 2.0) if not isinstance(x, keras.KerasTensor) else self.fail()

    def fail(self):
        raise RuntimeError("no symbolic form")

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Registered(Doubling):
    def call(self, x):
        return super().call(x)


@register_layer(Registered)
def registered(graph, _, x):
    return graph.pointwise("Mul", x, graph.const(2.0, x.dtype))


def test_unsupported_layers_are_all_listed():
    x = keras.Input((3,))
    y = Doubling(name="first")(x)
    model = keras.Model(x, Doubling(name="second")(L.Dense(2)(y)))
    assert [problem.path for problem in find_unsupported(model)] == ["first", "second"]
    with pytest.raises(UnsupportedError, match=r"2 parts .*first \(.*Doubling\).*second \(.*Doubling\)"):
        convert(model)


def test_registered_layer():
    x = keras.Input((3,))
    model = keras.Model(x, L.Dense(2)(Registered()(x)))
    assert find_unsupported(model) == []
    agree(redraw(model))


def test_names_and_opset():
    proto = convert(tutorial(), input_names=["image"], output_names=["probabilities"], opset=18, ir_version=9).proto
    assert proto.graph.output[0].name == "probabilities"
    assert (proto.opset_import[0].version, proto.ir_version) == (18, 9)
    with pytest.raises(InputError, match="opset 17"):
        convert(tutorial(), opset=16)
    with pytest.raises(InputError, match="2 output names for 1"):
        convert(tutorial(), output_names=["a", "b"])


def test_fixed_batch():
    proto = convert(tutorial(), batch=4).proto
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4


@pytest.mark.parametrize("policy", ["mixed_float16", "float16"])
def test_half_precision(policy):
    x = keras.Input((6, 6, 2))
    y = L.Conv2D(4, 3, dtype=policy, activation="relu")(x)
    y = L.BatchNormalization(dtype=policy)(y)
    y = L.GlobalAveragePooling2D(dtype=policy)(y)
    agree(redraw(keras.Model(x, L.Dense(3, dtype=policy)(y))), atol=5e-3, mutant=False)


def test_compare_can_fail():
    with pytest.raises(AssertionError, match="largest difference"):
        compare([np.zeros(3, "float32")], [np.full(3, 1e-3, "float32")])
    with pytest.raises(AssertionError, match="largest difference"):
        compare([np.zeros(3, "float32")], [np.full(3, np.inf, "float32")])
    with pytest.raises(AssertionError):
        compare([np.zeros(3, "float32")], [np.full(3, np.nan, "float32")])
    with pytest.raises(AssertionError, match="shape"):
        compare([np.zeros(3, "float32")], [np.zeros((1, 3), "float32")])
