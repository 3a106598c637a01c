"""Dropout without a seed, which under PyTorch draws from the global random generator, as in ``model.fit``."""

import keras
import numpy as np
import pytest

from mnistkit.training import fit

if keras.backend.backend() != "torch":
    pytest.skip("the other backends draw from Keras' seed generators", allow_module_level=True)

import torch

X = np.random.default_rng(0).normal(size=(100, 8)).astype("float32")
Y = (X.sum(1, keepdims=True) > 0).astype("float32")


def net(*layers):
    keras.utils.set_random_seed(3)
    made = [keras.layers.Dense(16, "relu"), *layers, keras.layers.Dense(1, "sigmoid")]
    model = keras.Sequential([keras.Input((8,)), *made])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def trained(fitted, *, seed=5, **options):
    """Train; return weights, History and the next number of the global generator."""
    model = net(keras.layers.Dropout(0.4), keras.layers.Dropout(0.2))
    torch.manual_seed(seed)
    options = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0} | options
    history = fitted(model, X, Y, **options).history
    return model.get_weights(), history, float(torch.rand(()))


@pytest.mark.parametrize("validated", [False, True])
def test_the_masks_are_those_of_fit(validated, capsys):
    options = {"validation_data": (X[:20], Y[:20])} if validated else {}
    ours, theirs = trained(fit, **options), trained(keras.Sequential.fit, **options)
    assert capsys.readouterr().err == ""
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
    assert ours[1].keys() == theirs[1].keys()
    for name in ours[1]:
        np.testing.assert_allclose(ours[1][name], theirs[1][name], rtol=0, atol=1e-5)
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("validated", [False, True])
def test_the_masks_of_a_short_run_are_those_of_fit(validated, worth_steps):
    """No program is made, so nothing tells whether a step draws."""
    worth_steps(1000)
    options = {"validation_data": (X[:20], Y[:20])} if validated else {}
    ours, theirs = trained(fit, **options), trained(keras.Sequential.fit, **options)
    for one, other in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert ours[2] == theirs[2]


def test_another_seed_gives_other_masks():
    one, other = trained(fit), trained(fit, seed=6)
    assert max(np.abs(a - b).max() for a, b in zip(one[0], other[0], strict=True)) > 1e-3


def test_each_step_draws_anew():
    """A layer that is all dropout: with one mask for all steps, only some of the bias would ever move."""
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64, use_bias=True), keras.layers.Dropout(0.5)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.layers[0].bias.numpy().copy()
    fit(model, X[:96], np.ones((96, 64), "float32"), epochs=5, batch_size=1, shuffle=False, verbose=0)
    assert (model.layers[0].bias.numpy() != before).all()


@pytest.mark.parametrize("kind", ["source", "recurrent", "condition"])
def test_what_goes_to_keras_own_step(kind, capsys):
    class Branch(keras.layers.Layer):
        def call(self, x, training=None):
            if not training:
                return x
            return keras.ops.cond(keras.ops.sum(x) > 0, lambda: torch.nn.functional.dropout(x), lambda: x)

    layers = {"source": (keras.layers.Dropout(0.4),), "condition": (Branch(),)}
    layers["recurrent"] = (keras.layers.Reshape((4, 4)), keras.layers.LSTM(4), keras.layers.Dropout(0.4))
    model = net(*layers[kind])
    if kind == "source":
        data = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
        fit(model, torch.utils.data.DataLoader(data, 16), epochs=1, verbose=0)
    else:
        fit(model, X, Y, epochs=1, batch_size=16, verbose=0)
    assert "global random generator" in capsys.readouterr().err
