"""Layers that call their framework itself: what can be followed is exported, the rest is refused with a cure."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest
from comparing import agree
from keras import layers, ops

from mnistkit.core.errors import UnsupportedError
from mnistkit.export.native import convert

BACKEND = keras.backend.backend()


def _torch(x):
    import torch
    from torch.nn import functional

    places = torch.tensor([2, 0])
    ones = torch.ones(2, 2, 2, 2)
    return {
        "moved": x.permute(0, 2, 1).contiguous().view(x.size(0), -1),
        "flat": torch.flatten(x, 1).unsqueeze(1).squeeze(1),
        "spread": torch.cat([x, torch.zeros(x.shape[0], 4, 2)], dim=2),
        "cut": torch.split(x, [1, 3], dim=1)[1]
        + x.narrow(1, 0, 3)
        + torch.chunk(x, 2, dim=2)[0].sum(dim=1, keepdim=True)[..., :1],
        "chosen": torch.where(x > 0.5, x, torch.zeros_like(x)).masked_fill(x > 1, 2.0),
        "always": torch.where(torch.tensor([True]), x, torch.tensor([0, 1, 2, 5])),
        "largest": torch.max(x, dim=1).values + x.max(1)[0] + torch.topk(x.transpose(1, 2), 2).values[..., 0],
        "place": torch.argmax(x, dim=2),
        "spreads": torch.stack([x.std(dim=(1, 2)), torch.var(x, dim=(1, 2), unbiased=False), x.mean((1, 2))], dim=1),
        "numbers": torch.tensor([1.0, 2.0, 3.0, 4.0]) * x.clamp(-1, 1) + torch.add(x, x, alpha=2) / 3,
        "products": torch.einsum("bij,bkj->bik", x, x) + torch.matmul(x, x.mT) + torch.bmm(x, x.transpose(1, 2)),
        "taken": x.index_select(2, places) + x[:, :, places] + torch.flip(x, dims=[2])[..., :2],
        "activated": functional.gelu(functional.relu(x, inplace=False)) + functional.softmax(x, dim=-1),
        "leaky": functional.leaky_relu(x)
        + functional.softplus(x)
        + functional.normalize(x, dim=2)
        + functional.silu(x),
        "looked up": torch.arange(8.0).reshape(4, 2)[torch.argmax(x, dim=2)],
        "padded": functional.pad(x, (1, 2), value=1.0),
        "convolved": functional.conv2d(x.unsqueeze(1).expand(-1, 2, -1, -1), ones, torch.ones(2), padding=1),
        "pooled": functional.max_pool2d(x.unsqueeze(1), 2) - functional.avg_pool2d(x.unsqueeze(1), 2),
        "doubled": functional.interpolate(x, scale_factor=2) + functional.interpolate(x, 8, mode="linear"),
        "resized": functional.interpolate(x[:, None], (7, 3))
        + functional.interpolate(x[:, None], (7, 3), mode="bilinear"),
        "by ends": functional.interpolate(x[:, None], (7, 3), mode="bilinear", align_corners=True)
        + functional.interpolate(x[:, None], scale_factor=(1.8, 0.9), mode="bilinear"),
        "hot": functional.one_hot(torch.argmax(x, dim=2), 4),
        "sum of whole": torch.sum(x.int(), dim=1),
        "typed": (x > 0).to(torch.float32),
        "normed": functional.layer_norm(x, (4,)) + torch.cumsum(x, dim=1) + functional.linear(x, torch.eye(4)),
    }


def _jax(x):
    import jax
    import jax.numpy as jnp

    return {
        "moved": jnp.transpose(x, (0, 2, 1)).reshape(x.shape[0], -1),
        "spread": jnp.concatenate([x, jnp.zeros((x.shape[0], 4, 2))], axis=2),
        "cut": jnp.split(x, [1], axis=1)[1] + jnp.expand_dims(x.sum(axis=1), 1),
        "backwards": x[:, ::-1] + jnp.flip(x, axis=1),
        "chosen": jnp.where(x > 0.5, x, jnp.zeros_like(x)) + jnp.where(x > 1, 1.0, x),
        "largest": jnp.max(x, axis=1) + x.max(axis=1),
        "place": jnp.argmax(x, axis=2),
        "spreads": jnp.stack([jnp.std(x, axis=(1, 2)), jnp.var(x, axis=(1, 2), ddof=1), x.mean(axis=(1, 2))], axis=1),
        "numbers": jnp.array([1.0, 2.0, 3.0, 4.0]) * jnp.clip(x, -1, 1) + jnp.add(x, jnp.maximum(x, 0.0)) / 3,
        "products": jnp.einsum("bij,bkj->bik", x, x) + jnp.matmul(x, x.transpose(0, 2, 1)),
        "taken": jnp.take(x, jnp.array([2, 0]), axis=2) + x[:, :, jnp.array([2, 0])],
        "activated": jax.nn.gelu(jax.nn.relu(x))
        + jax.nn.softmax(x, axis=-1)
        + jax.nn.leaky_relu(x)
        + jax.lax.rsqrt(x * x + 1),
        "hot": jax.nn.one_hot(jnp.argmax(x, axis=2), 4),
        "typed": (x > 0).astype("float32"),
    }


def _tensorflow(x):
    import tensorflow as tf

    return {
        "moved": tf.reshape(tf.transpose(x, perm=[0, 2, 1]), [tf.shape(x)[0], -1]),
        "spread": tf.concat([x, tf.zeros([tf.shape(x)[0], 4, 2])], axis=2),
        "cut": tf.split(x, [1, 3], 1)[1] + tf.unstack(x, axis=1)[0][:, None],
        "backwards": x[:, ::-1] + tf.reverse(x, [1]),
        "chosen": tf.where(x > 0.5, x, tf.zeros_like(x)) + tf.where(True, x, [0.0, 1.0, 2.0, 5.0]),
        "largest": tf.reduce_max(x, axis=1) + tf.math.top_k(tf.transpose(x, [0, 2, 1]), k=2)[0][..., 0],
        "place": tf.argmax(x, axis=2),
        "spreads": tf.stack([tf.math.reduce_std(x, axis=[1, 2]), tf.reduce_mean(x, axis=[1, 2])], axis=1),
        "numbers": tf.constant([1.0, 2.0, 3.0, 4.0]) * tf.clip_by_value(x, -1.0, 1.0) + tf.add_n([x, x]) / 3,
        "products": tf.einsum("bij,bkj->bik", x, x) + tf.matmul(x, x, transpose_b=True),
        "taken": tf.gather(x, [2, 0], axis=2) + tf.slice(x, [0, 0, 1], [-1, -1, 2]),
        "activated": tf.nn.relu(tf.nn.softmax(x, axis=1)) + tf.nn.leaky_relu(x) + tf.math.l2_normalize(x, axis=2),
        "hot": tf.one_hot(tf.argmax(x, axis=2), 4, 5.0, -1.0),
        "padded": tf.pad(x, [[0, 0], [1, 0], [0, 2]]),
        "convolved": tf.nn.conv2d(x[..., None], tf.ones([2, 2, 1, 3]), strides=[1, 1, 2, 1], padding="SAME"),
        "shuffled": tf.nn.depth_to_space(x[:, None], 2),
        "pooled": tf.nn.max_pool(x[..., None], 2, 2, "VALID"),
        "typed": tf.cast(x > 0, tf.float32),
    }


CALLS = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow}[BACKEND]


class Calls(layers.Layer):
    def call(self, x):
        return CALLS(x)


class Own(keras.Model):
    """A model, in the framework's words from its call on."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)

    def call(self, x):
        x = self.dense(x)
        if BACKEND == "torch":
            import torch

            return torch.sigmoid(x).reshape(x.shape[0], 2, 2)
        if BACKEND == "jax":
            import jax

            return jax.nn.sigmoid(x).reshape(x.shape[0], 2, 2)
        import tensorflow as tf

        return tf.reshape(tf.sigmoid(x), [-1, 2, 2])


def with_layer(layer, shape=(4,)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


def test_a_layer_in_the_frameworks_own_words_is_exported():
    agree(with_layer(Calls(), (4, 4)))


def test_a_model_and_activations_in_the_frameworks_own_words_are_exported():
    model = Own()
    model(np.zeros((1, 3), "float32"))
    agree(model)
    swish = importlib.import_module(
        {"torch": "torch.nn.functional", "jax": "jax.nn", "tensorflow": "tensorflow"}[BACKEND]
    )
    activation = swish.nn.silu if BACKEND == "tensorflow" else swish.silu
    agree(keras.Sequential([keras.Input((3,)), layers.Dense(4, activation=activation), layers.Activation(activation)]))


@pytest.mark.skipif(BACKEND != "torch", reason="the layer runs under PyTorch alone")
def test_a_module_of_pytorch_in_a_layer_is_exported():
    from torch import nn

    parts = (
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
    )
    module = nn.Sequential(*parts, nn.Linear(16, 5), nn.LayerNorm(5), nn.Softmax(dim=1))
    agree(with_layer(layers.TorchModuleWrapper(module, output_shape=(None, 5)), (3, 4, 4)))


def test_slices_and_lists_of_a_lambda_are_exported():
    """New axes, an ellipsis alone, lists of places, several outputs, numbers where a tensor is expected."""

    def parts(x):
        parts = [x[:, None, 1:, None, :2, None, 3], x[...], x[..., -1:], ops.maximum(x, [0.0, 1.0, 0.5, 2.0])]
        if BACKEND != "tensorflow":  # which takes no list of places
            parts += [x[:, [0, 2]]]
        if BACKEND != "jax":  # there Keras itself takes no list in a where
            parts += [ops.where(True, x, [0.0, 1.0, 2.0, 5.0]), ops.where([True], x, [[0, 1, 2, 5]])]
        return parts

    agree(with_layer(layers.Lambda(parts), (3, 3, 4)))


def unknown_call(x):
    """A function that is in no table."""
    if BACKEND == "torch":
        import torch

        return torch.logcumsumexp(x, dim=1)
    if BACKEND == "jax":
        import jax.numpy as jnp

        return jnp.unwrap(x)
    import tensorflow as tf

    return tf.math.cumulative_logsumexp(x, axis=1)


def known_to_keras(x):
    """A function that is in no table, and for which there is one of Keras."""
    if BACKEND == "torch":
        import torch

        return torch.linalg.det(x)
    if BACKEND == "jax":
        import jax.numpy as jnp

        return jnp.linalg.det(x)
    import tensorflow as tf

    return tf.linalg.det(x)


def test_a_call_that_cannot_be_followed_is_named_with_its_line_and_what_to_write():
    with pytest.raises(UnsupportedError) as caught:
        convert(with_layer(layers.Lambda(unknown_call)))
    name = {
        "torch": "torch.logcumsumexp",
        "jax": "jax.numpy.unwrap",
        "tensorflow": "tensorflow.math.cumulative_logsumexp",
    }
    assert f"{name[BACKEND]} (test_framework_calls.py, line" in str(caught.value)
    assert "keras.ops has no function of that name" in str(caught.value)
    with pytest.raises(
        UnsupportedError, match=r"linalg\.det \(test_framework_calls\.py, line \d+\) .*write keras\.ops\.det"
    ):
        convert(with_layer(layers.Lambda(known_to_keras, output_shape=()), (2, 2)))
    with pytest.raises(UnsupportedError, match=r"no attribute 'tolist' \(test_framework_calls\.py, line \d+\)"):
        convert(with_layer(layers.Lambda(lambda x: ops.convert_to_tensor(x.tolist()), output_shape=(4,))))
    with pytest.raises(UnsupportedError, match=r"numpy\.tanh .*write keras\.ops\.tanh instead"):
        convert(with_layer(layers.Lambda(lambda x: np.tanh(x), output_shape=(4,))))


class Draws(layers.Layer):
    def call(self, x):
        if BACKEND == "torch":
            import torch

            return x + torch.randn_like(x)
        if BACKEND == "jax":
            import jax

            return x + jax.random.normal(jax.random.PRNGKey(0), x.shape)
        import tensorflow as tf

        return x + tf.random.normal(tf.shape(x))


def test_random_numbers_of_the_framework_are_refused_by_the_layers_name():
    with pytest.raises(UnsupportedError, match=r"draws .*it draws random numbers at inference"):
        convert(with_layer(Draws()))


def test_what_the_framework_answers_outside_an_export_is_its_own():
    """The replacements act while a layer is traced, and are gone afterwards."""
    convert(with_layer(Calls(), (4, 4)))
    x = ops.convert_to_tensor(np.arange(16.0, dtype="float32").reshape(1, 4, 4))
    for name, answer in CALLS(x).items():
        assert ops.is_tensor(answer), name


def test_a_lambda_whose_outputs_keras_cannot_infer_is_refused_for_its_own_reason():
    model = with_layer(layers.Lambda(lambda x: ops.convert_to_tensor(np.tanh(x)), output_shape=(4,)))
    model.layers[-1]._output_shape = None  # as in a file of an older Keras
    with pytest.raises(UnsupportedError, match=r"lambda \(Lambda\): .*numpy\.tanh"):
        convert(model)
