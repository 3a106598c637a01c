"""Every class of ``keras.layers`` in a default and another configuration: one list for the tests and the benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers as L
from keras import ops
from keras_versions import SHIFTED_TRANSPOSE, lacks_layer


@dataclass(frozen=True)
class Case:
    """A small model that shows one thing.

    Attributes:
        subject: What it covers: a class of ``keras.layers``, an activation, an application …
        label: Which configuration.
        build: Makes the model.
        lengths: What free dimensions other than batch are set to.
        high: Integers are drawn below this.
        pictures: Floats are drawn from 0 to this instead of a normal distribution.
        atol: Tolerance, of answers scaled to 1.
        mutant: Whether a weight can be changed so that the answer changes.
        refused: The words of the refusal, for what ONNX cannot express.
        redraw: Whether to draw the weights anew.
        only: Names of the backends on which Keras itself can do this; empty for all.
    """

    subject: str
    label: str
    build: Callable[[], Any]
    lengths: tuple[int, ...] = (6, 9)
    high: int = 5
    pictures: float = 0.0
    atol: float = 1e-4
    mutant: bool = True
    refused: str = ""
    redraw: bool = True
    only: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Name for reports."""
        return f"{self.subject}-{self.label}"


def chain(shape: Any, *layers: Any, dtype: str = "float32") -> Callable[[], Any]:
    """Return a builder of a model that is one layer (made by the builder) after the other."""

    def build() -> Any:
        x = inputs = keras.Input(shape, dtype=dtype)
        for layer in layers:
            x = layer()(x)
        return keras.Model(inputs, x)

    return build


def join(shapes: Any, layer: Any, dtypes: Any = None) -> Callable[[], Any]:
    """Return a builder of a model with several inputs into one layer."""

    def build() -> Any:
        kinds = dtypes or ["float32"] * len(shapes)
        inputs = [keras.Input(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True)]
        return keras.Model(inputs, layer()(inputs))

    return build


def call(shapes: Any, function: Any, dtypes: Any = None) -> Callable[[], Any]:
    """Return a builder of a model that is a function of its inputs."""

    def build() -> Any:
        kinds = dtypes or ["float32"] * len(shapes)
        inputs = [keras.Input(shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True)]
        return keras.Model(inputs, function(*inputs))

    return build


CASES: list[Case] = []


def add(subject: str, *configurations: Any, shape: Any, dtype: str = "float32", **options: Any) -> None:
    """Add cases ``subject(**configuration)`` on one input."""
    if lacks_layer(subject):
        return
    for number, configuration in enumerate(configurations or ({},)):
        layer = getattr(L, subject)
        made = dict(configuration)
        where = made.pop("shape_", shape)
        label = ",".join(f"{k}={v}" for k, v in made.items()) or "default"
        del number
        CASES.append(
            Case(
                subject, label[:90], chain(where, lambda layer=layer, made=made: layer(**made), dtype=dtype), **options
            )
        )


def more(subject: str, label: str, build: Any, **options: Any) -> None:
    """Add one case with its own builder."""
    if lacks_layer(subject):
        return
    CASES.append(Case(subject, label, build, **options))


# -- core -------------------------------------------------------------------------------------------------------------

add(
    "Dense",
    dict(units=4),
    dict(units=3, activation="gelu", use_bias=False),
    dict(units=3, shape_=(None, 5)),
    shape=(5,),
)
add("TernaryDense", dict(units=4), dict(units=3, activation="relu", use_bias=False), shape=(5,))
add("EinsumDense", dict(equation="ab,bc->ac", output_shape=4, bias_axes="c"), shape=(5,))
add(
    "EinsumDense",
    dict(equation="abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de", activation="relu"),
    shape=(None, 5),
)
add("Activation", dict(activation="relu"), dict(activation="softmax"), shape=(5,))
add(
    "Embedding",
    dict(input_dim=7, output_dim=4),
    dict(input_dim=7, output_dim=4, mask_zero=True),
    shape=(None,),
    dtype="int32",
)
add("ReversibleEmbedding", dict(input_dim=7, output_dim=4), shape=(None,), dtype="int32")


def tied(**options: Any) -> Any:
    tokens = keras.Input((None,), dtype="int32")
    layer = L.ReversibleEmbedding(7, 4, **options)
    return keras.Model(tokens, layer(L.Dense(4)(layer(tokens)), reverse=True))


more("ReversibleEmbedding", "tied", tied)
more("ReversibleEmbedding", "untied,soft_cap", lambda: tied(tie_weights=False, logit_soft_cap=2.0))
add("Identity", {}, shape=(5,))
more("Identity", "free length", chain((None, 4), lambda: L.Identity(), lambda: L.Dense(3)))
more("InputLayer", "default", lambda: keras.Sequential([L.InputLayer(shape=(5,)), L.Dense(3)]))
more(
    "InputLayer",
    "int,batch",
    lambda: keras.Sequential([L.InputLayer(batch_shape=(None, 3), dtype="int32"), L.Embedding(5, 2)]),
)
more("Lambda", "default", chain((5,), lambda: L.Lambda(lambda x: ops.square(x) + 1.0)))
more("Lambda", "ops,free", chain((None, 4), lambda: L.Lambda(lambda x: ops.concatenate([x, ops.flip(x, 1)], axis=1))))
more("Masking", "default", chain((None, 3), lambda: L.Masking(), lambda: L.Dense(2)))
more("Masking", "value,LSTM", chain((None, 3), lambda: L.Masking(mask_value=1.0), lambda: L.LSTM(4)))
more("Wrapper", "subclass", chain((5,), lambda: Wrapped(L.Dense(3))))
more("Layer", "subclass", chain((5,), lambda: Scaled()))
more("Layer", "subclass,mask", chain((None, 5), lambda: L.Masking(), lambda: MaskedMean()))


class Wrapped(L.Wrapper):
    def call(self, x):
        return ops.tanh(self.layer(x)) * 2.0


class Scaled(L.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="normal", name="factor")

    def call(self, x):
        return ops.logaddexp(x * self.factor, 0.0)

    def compute_output_shape(self, shape):
        return shape


class MaskedMean(L.Layer):
    def call(self, x, mask=None):
        weights = ops.expand_dims(ops.cast(mask, x.dtype), -1)
        return ops.sum(x * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)

    def compute_output_shape(self, shape):
        return (shape[0], shape[2])


# -- activations ------------------------------------------------------------------------------------------------------

add("ReLU", {}, dict(max_value=1.0, negative_slope=0.2, threshold=0.1), shape=(6,))
add("LeakyReLU", {}, dict(negative_slope=0.1), shape=(6,))
add("PReLU", {}, dict(shared_axes=[1, 2], shape_=(4, 4, 3)), shape=(6,))
add("ELU", {}, dict(alpha=0.5), shape=(6,))
add("Softmax", {}, dict(axis=1, shape_=(4, 3)), dict(axis=(1, 2), shape_=(4, 3)), shape=(6,))
more("Softmax", "mask", call([(None, 4), (None, 4)], lambda x, m: L.Softmax()(x, mask=m), ["float32", "bool"]))

# -- convolutions -----------------------------------------------------------------------------------------------------

for rank, shape in ((1, (12, 4)), (2, (9, 12, 4)), (3, (6, 7, 8, 4))):
    free = (*([None] * rank), 4)
    extra = [dict(filters=6, kernel_size=3, strides=2, padding="same", activation="relu", shape_=free)]
    extra.append(dict(filters=4, kernel_size=2, groups=2, dilation_rate=2, use_bias=False))
    if rank == 1:
        extra.append(dict(filters=4, kernel_size=3, padding="causal", dilation_rate=2, shape_=free))
    add(f"Conv{rank}D", dict(filters=5, kernel_size=3), *extra, shape=shape, lengths=(7, 10))
    add(
        f"Conv{rank}DTranspose",
        dict(filters=3, kernel_size=3),
        *([] if SHIFTED_TRANSPOSE else [dict(filters=3, kernel_size=3, strides=2, padding="same", shape_=free)]),
        dict(filters=3, kernel_size=4, strides=3, output_padding=1),
        dict(filters=3, kernel_size=2, strides=3),
        shape=shape,
        lengths=(7, 10),
    )
    # TensorFlow has no dilated transposed convolution on the CPU
    dilated = dict(filters=3, kernel_size=3, dilation_rate=2)
    add(f"Conv{rank}DTranspose", dilated, shape=shape, only=("jax", "torch"))
    if rank < 3:
        add(
            f"DepthwiseConv{rank}D",
            dict(kernel_size=3),
            dict(kernel_size=3, depth_multiplier=2, strides=2, padding="same", shape_=free),
            shape=shape,
            lengths=(7, 10),
        )
        add(
            f"SeparableConv{rank}D",
            dict(filters=5, kernel_size=3),
            dict(filters=5, kernel_size=3, depth_multiplier=2, padding="same", activation="tanh", shape_=free),
            shape=shape,
            lengths=(7, 10),
        )
    dims = ("1D", "2D", "3D")[rank - 1]
    pool = dict(pool_size=3, strides=2, padding="same", shape_=free)
    first = (*([None] * rank), 2)
    wide = dict(pool_size=2, strides=3, padding="same", shape_=free)  # windows shorter than their stride
    add(f"MaxPooling{dims}", {}, pool, wide, shape=shape, lengths=(6, 7, 10), mutant=False)
    even = dict(pool_size=3, padding="same", strides=1, shape_=free)
    uneven = dict(pool_size=3, padding="same", strides=2)
    # on PyTorch, Keras before 3.16 repeats the border when the padding is uneven, which depends on the size
    add(
        f"AveragePooling{dims}",
        dict(pool_size=2),
        even,
        uneven,
        pool,
        wide,
        shape=shape,
        lengths=(6, 7, 8, 10),
        mutant=False,
    )
    add(f"GlobalMaxPooling{dims}", {}, dict(keepdims=True, shape_=free), shape=shape, mutant=False)
    add(f"GlobalAveragePooling{dims}", {}, dict(keepdims=True, shape_=free), shape=shape, mutant=False)
    add(f"AdaptiveMaxPooling{dims}", dict(output_size=3), dict(output_size=2), shape=shape, mutant=False)
    add(f"AdaptiveAveragePooling{dims}", dict(output_size=3), dict(output_size=2), shape=shape, mutant=False)
    add(f"UpSampling{dims}", {}, dict(size=3, shape_=free), shape=shape, mutant=False)
    add(f"ZeroPadding{dims}", {}, dict(padding=2, shape_=free), shape=shape, mutant=False)
    add(f"Cropping{dims}", {}, dict(cropping=2, shape_=free), shape=shape, mutant=False)
    add(f"SpatialDropout{dims}", dict(rate=0.3), dict(rate=0.5, shape_=free), shape=shape, mutant=False)
    del first
add(
    "UpSampling2D",
    dict(size=(2, 3), interpolation="bilinear"),
    dict(size=2, interpolation="bilinear", shape_=(None, None, 3)),
    shape=(5, 6, 3),
    mutant=False,
)
add("UpSampling2D", dict(size=2, interpolation="bicubic"), shape=(5, 6, 3), mutant=False)
add("ZeroPadding2D", dict(padding=((1, 0), (2, 1))), shape=(5, 6, 3), mutant=False)
add("Cropping2D", dict(cropping=((1, 0), (2, 1))), shape=(5, 6, 3), mutant=False)
more(
    "GlobalAveragePooling1D",
    "mask",
    chain((None, 3), lambda: L.Masking(), lambda: L.GlobalAveragePooling1D()),
    mutant=False,
)

# -- normalisation and regularisation ---------------------------------------------------------------------------------

add(
    "BatchNormalization",
    {},
    dict(axis=1, center=False, shape_=(4, 6)),
    dict(scale=False, epsilon=0.1, shape_=(None, None, 3)),
    shape=(6,),
)
add(
    "LayerNormalization",
    {},
    dict(axis=[1, 2], center=False, shape_=(4, 6)),
    dict(scale=False, shape_=(None, 6)),
    shape=(6,),
)
add("RMSNormalization", {}, dict(axis=-1, epsilon=0.1, shape_=(None, 6)), shape=(6,))
add(
    "GroupNormalization",
    dict(groups=2),
    dict(groups=-1, shape_=(None, None, 4)),
    dict(groups=2, axis=1, scale=False, shape_=(4, 5)),
    shape=(6,),
)
add("UnitNormalization", {}, dict(axis=1, shape_=(4, 6)), shape=(6,), mutant=False)
more("SpectralNormalization", "default", chain((6,), lambda: L.SpectralNormalization(L.Dense(4))))
more(
    "SpectralNormalization",
    "conv",
    chain((6, 6, 2), lambda: L.SpectralNormalization(L.Conv2D(4, 3), power_iterations=2)),
)
add("Dropout", dict(rate=0.5), dict(rate=0.2, noise_shape=(None, 1), shape_=(6,)), shape=(6,), mutant=False)
add("AlphaDropout", dict(rate=0.5), dict(rate=0.2, shape_=(None, 3)), shape=(6,), mutant=False)
add("GaussianDropout", dict(rate=0.5), dict(rate=0.2, shape_=(None, 3)), shape=(6,), mutant=False)
add("GaussianNoise", dict(stddev=0.5), dict(stddev=0.2, shape_=(None, 3)), shape=(6,), mutant=False)
add("ActivityRegularization", dict(l2=0.1), dict(l1=0.1, shape_=(None, 3)), shape=(6,), mutant=False)

# -- shapes and merging -----------------------------------------------------------------------------------------------

add("Flatten", {}, dict(data_format="channels_first"), dict(shape_=(None, 1)), shape=(3, 4, 2), mutant=False)
add("Reshape", dict(target_shape=(4, 6)), dict(target_shape=(-1, 3)), shape=(3, 4, 2), mutant=False)
more("Reshape", "free", chain((None, 6), lambda: L.Reshape((-1, 3))), mutant=False)
add("Permute", dict(dims=(2, 1, 3)), dict(dims=(3, 2, 1)), shape=(3, 4, 2), mutant=False)
add("RepeatVector", dict(n=3), dict(n=1), shape=(4,), mutant=False)
for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
    more(name, "default", join([(4,), (4,)], getattr(L, name)), mutant=False)
    if name != "Subtract":
        more(name, "three,free", join([(None, 4), (None, 4), (None, 4)], getattr(L, name)), mutant=False)
    else:
        more(name, "broadcast", join([(None, 4), (1, 4)], getattr(L, name)), mutant=False)
more("Concatenate", "axis=1", join([(2, 4), (3, 4)], lambda: L.Concatenate(axis=1)), mutant=False)
more("Dot", "default", join([(4,), (4,)], lambda: L.Dot(axes=1)), mutant=False)
more("Dot", "normalize", join([(3, 4), (4, 5)], lambda: L.Dot(axes=(2, 1), normalize=True)), mutant=False)

# -- attention --------------------------------------------------------------------------------------------------------

Q, K = (None, 6), (None, 6)


def masked(layer: Any, **options: Any) -> Any:
    """An attention layer with masks from two Embeddings."""

    def build() -> Any:
        a, b = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
        query, key = L.Embedding(6, 8, mask_zero=True)(a), L.Embedding(6, 8, mask_zero=True)(b)
        arguments = ([query, key],) if isinstance(layer(), (L.Attention, L.AdditiveAttention)) else (query, key)
        return keras.Model([a, b], layer()(*arguments, **options))

    return build


more("Attention", "default", join([Q, K], L.Attention), mutant=False)
more("Attention", "scale,three", join([Q, K, K], lambda: L.Attention(use_scale=True)), mutant=False)
more("Attention", "concat", join([Q, K], lambda: L.Attention(score_mode="concat", use_scale=True)), mutant=False)
more("Attention", "masks,causal", masked(L.Attention, use_causal_mask=True))
more("AdditiveAttention", "default", join([Q, K], L.AdditiveAttention))
more("AdditiveAttention", "masks,no scale", masked(lambda: L.AdditiveAttention(use_scale=False)))
more("MultiHeadAttention", "default", call([Q, K], lambda q, k: L.MultiHeadAttention(2, 3)(q, k)))
more("MultiHeadAttention", "masks,causal", masked(lambda: L.MultiHeadAttention(2, 4), use_causal_mask=True))
more(
    "MultiHeadAttention",
    "masks,causal,value size",
    masked(lambda: L.MultiHeadAttention(2, 4, value_dim=3), use_causal_mask=True),
    only=("tensorflow", "torch"),  # JAX' attention wants values as long as keys
)
more(
    "MultiHeadAttention",
    "scores",
    call([Q, K], lambda q, k: L.MultiHeadAttention(2, 3, output_shape=5)(q, k, return_attention_scores=True)),
)
more(
    "MultiHeadAttention",
    "mask input",
    call(
        [(None, 6), (None, None)], lambda q, m: L.MultiHeadAttention(2, 3)(q, q, attention_mask=m), ["float32", "bool"]
    ),
)
more(
    "MultiHeadAttention",
    "2D axes",
    call([(3, 4, 6)], lambda q: L.MultiHeadAttention(2, 3, attention_axes=(1, 2))(q, q)),
)
more("GroupQueryAttention", "default", call([Q, K], lambda q, k: L.GroupQueryAttention(3, 4, 2)(q, k)))
more("GroupQueryAttention", "masks,causal", masked(lambda: L.GroupQueryAttention(3, 4, 2), use_causal_mask=True))

# -- recurrent --------------------------------------------------------------------------------------------------------

SEQ = (None, 3)
TIMES = (1, 5, 8)
common = [
    dict(units=4),
    dict(units=4, return_sequences=True, go_backwards=True),
    dict(units=4, return_sequences=True, return_state=True),
    dict(units=4, use_bias=False),
    dict(units=4, activation="relu"),
    dict(units=4, activation="elu", return_sequences=True),
    dict(units=4, dropout=0.3, recurrent_dropout=0.2),
    dict(units=4, unroll=True, return_sequences=True, shape_=(4, 3)),
]
for name in ("LSTM", "GRU", "SimpleRNN"):
    gates = (
        []
        if name == "SimpleRNN"
        else [
            dict(units=4, recurrent_activation="hard_sigmoid"),
            dict(units=4, recurrent_activation="relu", activation="softsign"),
        ]
    )
    add(name, *common, *gates, shape=SEQ, lengths=TIMES)
    layer = getattr(L, name)
    for options in (
        dict(),
        dict(return_sequences=True, zero_output_for_mask=True),
        dict(return_sequences=True, return_state=True, go_backwards=True),
    ):
        more(
            name,
            f"masked,{options}"[:90],
            chain(
                (None,),
                lambda: L.Embedding(5, 3, mask_zero=True),
                lambda layer=layer, options=options: layer(4, **options),
                dtype="int32",
            ),
            lengths=TIMES,
            high=3,
        )
add(
    "GRU",
    dict(units=4, reset_after=False),
    dict(units=4, reset_after=False, use_bias=False, return_sequences=True),
    shape=SEQ,
    lengths=TIMES,
)


def stated(layer: Any) -> Any:
    """A recurrent layer that starts from given states."""

    def build() -> Any:
        x = keras.Input((None, 3))
        count = 2 if layer is L.LSTM else 1
        states = [keras.Input((4,)) for _ in range(count)]
        return keras.Model([x, *states], layer(4, return_sequences=True, return_state=True)(x, initial_state=states))

    return build


for name in ("LSTM", "GRU", "SimpleRNN"):
    more(name, "initial_state", stated(getattr(L, name)), lengths=TIMES)
    cell = getattr(L, f"{name}Cell")
    more(f"{name}Cell", "RNN", chain(SEQ, lambda cell=cell: L.RNN(cell(4))), lengths=TIMES)
    more(
        f"{name}Cell",
        "RNN,relu,sequences",
        chain(SEQ, lambda cell=cell: L.RNN(cell(4, activation="relu", use_bias=False), return_sequences=True)),
        lengths=TIMES,
    )


class Minimal(L.Layer):
    """A cell as in Keras' documentation."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")
        self.built = True

    def call(self, inputs, states):
        output = ops.tanh(ops.matmul(inputs, self.kernel) + ops.matmul(states[0], self.recurrent))
        return output, [output]


more("RNN", "custom cell", chain(SEQ, lambda: L.RNN(Minimal(4))), lengths=TIMES)
more(
    "RNN",
    "custom,backwards,state",
    chain(SEQ, lambda: L.RNN(Minimal(4), return_sequences=True, return_state=True, go_backwards=True)),
    lengths=TIMES,
)
more(
    "RNN",
    "custom,mask",
    chain(SEQ, lambda: L.Masking(), lambda: L.RNN(Minimal(4), return_sequences=True)),
    lengths=TIMES,
)
more(
    "RNN",
    "custom,zero for mask",
    chain(
        (None,),
        lambda: L.Embedding(5, 3, mask_zero=True),
        lambda: L.RNN(Minimal(4), return_sequences=True, zero_output_for_mask=True),
        dtype="int32",
    ),
    lengths=TIMES,
    high=3,
)
more("StackedRNNCells", "default", chain(SEQ, lambda: L.RNN([L.LSTMCell(4), L.GRUCell(3)])), lengths=TIMES)
more(
    "StackedRNNCells",
    "state,sequences",
    chain(
        SEQ, lambda: L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.LSTMCell(4)]), return_state=True, return_sequences=True)
    ),
    lengths=TIMES,
)
for rank, shape in ((1, (None, 6, 2)), (2, (None, 5, 6, 2)), (3, (None, 4, 5, 4, 2))):
    add(
        f"ConvLSTM{rank}D",
        dict(filters=3, kernel_size=3),
        dict(
            filters=3,
            kernel_size=3,
            padding="same",
            return_sequences=True,
            go_backwards=True,
            recurrent_activation="hard_sigmoid",
        ),
        dict(filters=2, kernel_size=3, strides=2, return_state=True),
        shape=shape,
        lengths=(1, 4),
    )
more("Bidirectional", "default", chain(SEQ, lambda: L.Bidirectional(L.LSTM(4))), lengths=TIMES)
for mode in ("sum", "mul", "ave", None):
    more(
        "Bidirectional",
        f"GRU,{mode}",
        chain(SEQ, lambda mode=mode: L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode=mode)),
        lengths=TIMES,
    )
more(
    "Bidirectional",
    "mask,two layers",
    chain(
        (None,),
        lambda: L.Embedding(5, 3, mask_zero=True),
        lambda: L.Bidirectional(
            L.LSTM(4, return_sequences=True), backward_layer=L.GRU(4, return_sequences=True, go_backwards=True)
        ),
        dtype="int32",
    ),
    lengths=TIMES,
    high=3,
)
more("Bidirectional", "state", chain(SEQ, lambda: L.Bidirectional(L.LSTM(4, return_state=True))), lengths=TIMES)
more("TimeDistributed", "Dense", chain((None, 5), lambda: L.TimeDistributed(L.Dense(3))), lengths=TIMES)
more("TimeDistributed", "Conv2D,static", chain((3, 6, 6, 2), lambda: L.TimeDistributed(L.Conv2D(3, 3))))
more(
    "TimeDistributed",
    "model,free",
    chain(
        (None, 6, 6, 2),
        lambda: L.TimeDistributed(
            keras.Sequential([L.Conv2D(3, 3, padding="same"), L.BatchNormalization(), L.Flatten(), L.Dense(2)])
        ),
    ),
    lengths=(1, 4),
)

# -- preprocessing ----------------------------------------------------------------------------------------------------

IMAGE, FREE = (8, 10, 3), (None, None, 3)
add(
    "Rescaling",
    dict(scale=1 / 255),
    dict(scale=2.0, offset=-1.0, shape_=FREE),
    dict(scale=[1.0, 2.0, 3.0], offset=[0.1, 0.2, 0.3]),
    shape=IMAGE,
    mutant=False,
)
more(
    "Rescaling",
    "uint8",
    chain(IMAGE, lambda: L.Rescaling(1 / 127.5, offset=-1.0), dtype="uint8"),
    high=256,
    mutant=False,
)
add(
    "Normalization",
    dict(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]),
    dict(mean=0.5, variance=2.0, axis=None),
    dict(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0], invert=True),
    shape=IMAGE,
    mutant=False,
)


def adapted() -> Any:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(2.0, 3.0, (50, 4)).astype("float32"))
    x = keras.Input((4,))
    return keras.Model(x, layer(x))


more("Normalization", "adapted", adapted, mutant=False, redraw=False)
add(
    "Resizing",
    dict(height=5, width=6),
    dict(height=12, width=15, shape_=FREE),
    dict(height=5, width=6, interpolation="nearest", shape_=FREE),
    dict(height=5, width=4, antialias=True),
    dict(height=5, width=9, crop_to_aspect_ratio=True),
    dict(height=20, width=9, pad_to_aspect_ratio=True, fill_value=0.5),
    shape=IMAGE,
    mutant=False,
)
add(
    "Resizing",
    dict(height=12, width=7, interpolation="bicubic"),
    shape=IMAGE,
    mutant=False,
    atol=1e-3,  # TensorFlow looks the weights up in a table of 1,024 steps
)
add(
    "Resizing",
    dict(height=5, width=12, interpolation="lanczos3"),
    shape=IMAGE,
    mutant=False,
    only=("tensorflow", "jax"),
)
add("CenterCrop", dict(height=4, width=5), dict(height=12, width=5), shape=IMAGE, mutant=False)
more("CenterCrop", "free", chain(FREE, lambda: L.CenterCrop(4, 5)), mutant=False, refused="a fixed size works")
add("AutoContrast", {}, dict(value_range=(0, 1)), shape=IMAGE, mutant=False, pictures=1.0)
add(
    "ContrastLimitedAdaptiveHistogramEqualization",
    dict(tile_grid_size=(2, 2)),
    dict(tile_grid_size=(2, 3), clip_limit=2.0),
    shape=IMAGE,
    mutant=False,
    pictures=250.0,
)
augmentation = dict(
    AugMix=[{}, dict(value_range=(0, 1))],
    CutMix=[{}, dict(factor=0.5)],
    MixUp=[{}, dict(alpha=0.5)],
    RandAugment=[{}, dict(value_range=(0, 1))],
    RandomBrightness=[dict(factor=0.2), dict(factor=0.1, value_range=(0, 1))],
    RandomColorDegeneration=[dict(factor=0.2), dict(factor=0.5)],
    RandomColorJitter=[dict(brightness_factor=0.2), dict(value_range=(0, 1), hue_factor=0.1)],
    RandomContrast=[dict(factor=0.2), dict(factor=0.3, value_range=(0, 1))],
    RandomCrop=[dict(height=4, width=5), dict(height=12, width=12)],
    RandomElasticTransform=[{}, dict(factor=0.5, value_range=(0, 1))],
    RandomErasing=[{}, dict(factor=0.5, value_range=(0, 1))],
    RandomFlip=[{}, dict(mode="vertical")],
    RandomGaussianBlur=[{}, dict(kernel_size=5, value_range=(0, 1))],
    Mosaic=[{}],
    RandomGrayscale=[{}, dict(factor=0.9)],
    RandomHue=[dict(factor=0.2), dict(factor=0.1, value_range=(0, 1))],
    RandomInvert=[{}, dict(factor=0.5, value_range=(0, 1))],
    RandomPerspective=[{}, dict(factor=0.5, scale=0.3)],
    RandomPosterization=[dict(factor=3), dict(factor=5, value_range=(0, 1))],
    RandomRotation=[dict(factor=0.2), dict(factor=0.1, fill_mode="constant")],
    RandomSaturation=[dict(factor=0.2), dict(factor=0.1, value_range=(0, 1))],
    RandomSharpness=[dict(factor=0.2), dict(factor=0.1, value_range=(0, 1))],
    RandomShear=[dict(x_factor=0.2), dict(y_factor=0.1)],
    RandomTranslation=[
        dict(height_factor=0.2, width_factor=0.2),
        dict(height_factor=0.1, width_factor=0.1, fill_mode="constant"),
    ],
    RandomZoom=[dict(height_factor=0.2), dict(height_factor=0.1, width_factor=0.3)],
    Solarization=[{}, dict(threshold_factor=0.5, value_range=(0, 1))],
)
for name, configurations in augmentation.items():
    add(name, *configurations, shape=IMAGE, mutant=False, pictures=1.0)
more("Equalization", "default", chain(IMAGE, lambda: L.Equalization(), lambda: L.Rescaling(0.5)), mutant=False)
more(
    "Equalization",
    "range,bins",
    chain(IMAGE, lambda: L.Equalization(value_range=(0, 1), bins=64), lambda: L.Rescaling(0.5)),
    mutant=False,
)
more(
    "Pipeline",
    "default",
    chain(IMAGE, lambda: L.Pipeline([L.Rescaling(0.5), L.RandomFlip(), L.CenterCrop(4, 4)])),
    mutant=False,
)
more("Pipeline", "free", chain(FREE, lambda: L.Pipeline([L.Resizing(6, 6), L.RandomRotation(0.1)])), mutant=False)
add("MaxNumBoundingBoxes", dict(max_number=3), dict(max_number=5, fill_value=0), shape=IMAGE, mutant=False)
add(
    "CategoryEncoding",
    dict(num_tokens=6),
    dict(num_tokens=6, output_mode="count"),
    dict(num_tokens=6, output_mode="one_hot", shape_=(1,)),
    dict(num_tokens=6, output_mode="one_hot"),
    shape=(4,),
    dtype="int32",
    mutant=False,
)
add(
    "Discretization",
    dict(bin_boundaries=[-1.0, 0.0, 0.7]),
    dict(bin_boundaries=[-1.0, 0.5], output_mode="one_hot", shape_=(1,)),
    dict(bin_boundaries=[-1.0, 0.5], output_mode="count"),
    dict(bin_boundaries=[-1.0, 0.5], output_mode="multi_hot"),
    shape=(4,),
    mutant=False,
)
add(
    "IntegerLookup",
    dict(vocabulary=[2, 4, 7]),
    dict(vocabulary=[2, 4, 7], mask_token=0, num_oov_indices=2),
    dict(vocabulary=[2, 4, 7], output_mode="multi_hot"),
    dict(vocabulary=[2, 4, 7], output_mode="count"),
    dict(vocabulary=[2, 4], output_mode="tf_idf", idf_weights=[0.3, 0.6]),
    dict(vocabulary=[2, 4, 7], invert=True),
    shape=(4,),
    dtype="int64",
    high=9,
    mutant=False,
)
STRINGS = ("tensorflow",)
add(
    "StringLookup",
    dict(vocabulary=["a", "b"]),
    dict(vocabulary=["a", "b"], output_mode="multi_hot"),
    shape=(4,),
    dtype="string",
    mutant=False,
    only=STRINGS,
)
add(
    "StringLookup",
    dict(vocabulary=["a", "b"], invert=True),
    shape=(4,),
    dtype="int64",
    mutant=False,
    high=3,
    only=STRINGS,
)
add(
    "StringLookup",
    dict(vocabulary=["a", "b"], num_oov_indices=2),
    shape=(4,),
    dtype="string",
    mutant=False,
    only=STRINGS,
    refused="hash",
)
add("Hashing", dict(num_bins=5), shape=(4,), dtype="int64", refused="FarmHash", mutant=False)
more(
    "HashedCrossing",
    "default",
    join([(1,), (1,)], lambda: L.HashedCrossing(5), ["int64", "int64"]),
    refused="FarmHash",
    mutant=False,
)
add(
    "TextVectorization",
    dict(vocabulary=["a", "b"]),
    shape=(1,),
    dtype="string",
    refused="regular expressions",
    mutant=False,
    only=STRINGS,
)
add(
    "STFTSpectrogram",
    dict(frame_length=16),
    dict(frame_length=16, frame_step=4, mode="psd", padding="same"),
    dict(mode="angle", frame_length=8, expand_dims=True),
    dict(mode="magnitude", frame_length=16, fft_length=32, shape_=(None, 2)),
    shape=(64, 1),
    lengths=(40, 64),
)
add(
    "MelSpectrogram",
    dict(fft_length=64, sequence_stride=16, num_mel_bins=10),
    dict(fft_length=64, sequence_stride=16, num_mel_bins=10, power_to_db=False, window="hamming", min_freq=300),
    shape=(400,),
)
more(
    "MelSpectrogram",
    "free",
    chain((None,), lambda: L.MelSpectrogram(fft_length=64, sequence_length=48, sequence_stride=16, num_mel_bins=10)),
    lengths=(100, 160),
)

# Classes that stand for something else than a computation of their own, and why.
MEANINGLESS = {
    "InputSpec": "describes inputs; not a layer",
    "FlaxLayer": "runs a Flax module: JAX code, not Keras operations",
    "JaxLayer": "runs a JAX function: not Keras operations",
    "TFSMLayer": "runs a TensorFlow SavedModel: not Keras operations",
    "TorchModuleWrapper": "runs a PyTorch module: not Keras operations",
}


def classes() -> dict[str, type]:
    """Return the classes of ``keras.layers`` by their first public name; aliases are left out."""
    found: dict[type, str] = {}
    for name in sorted(dir(L)):
        kind = getattr(L, name)
        if isinstance(kind, type):
            best = kind.__name__ if hasattr(L, kind.__name__) else name
            found.setdefault(kind, best)
    return {name: kind for kind, name in found.items()}


def missing() -> list[str]:
    """Return the classes that have neither a case nor a reason."""
    covered = {getattr(L, case.subject) for case in CASES} | {getattr(L, name, None) for name in MEANINGLESS}
    return sorted(name for name, kind in classes().items() if kind not in covered)
