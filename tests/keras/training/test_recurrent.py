"""Recurrent layers: the trainer and model.fit give the same weights; under PyTorch no time step is traced by itself."""

from __future__ import annotations

import dataclasses
import gc

import keras
import numpy as np
import pytest
from keras import layers
from training_models import BATCH, SEED, assert_same_history, assert_same_state, plain_fit, without_copy_keyword

from mnistkit.training import fit

pytestmark = without_copy_keyword
TORCH = keras.backend.backend() == "torch"
LENGTH, FEATURES, UNITS, N = 18, 3, 5, BATCH * 4


def stacked():
    return layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(4), layers.SimpleRNNCell(3)])


def with_states(x):
    _, *states = layers.LSTM(UNITS, return_state=True)(x)
    return layers.LSTM(UNITS)(x, initial_state=states)


def masked_with_states(x):
    x = layers.Masking()(x)
    _, *states = layers.LSTM(UNITS, return_state=True)(x)
    x = layers.LSTM(UNITS, go_backwards=True, return_sequences=True)(x, initial_state=states)
    return layers.SimpleRNN(3)(x)


def masked(layer):
    return lambda x: another(layer)(layers.Masking()(x))


def another(layer):
    return type(layer).from_config(layer.get_config())


def shared(x):
    layer = layers.GRU(FEATURES, return_sequences=True)
    return layers.GlobalAveragePooling1D()(layer(layer(x)))


EVERYWHERE = {
    "lstm": layers.LSTM(UNITS),
    "masked gru": masked(layers.GRU(UNITS)),
    "bidirectional": layers.Bidirectional(layers.LSTM(UNITS)),
    "masked, both directions, sequences": lambda x: layers.SimpleRNN(3)(
        layers.Bidirectional(layers.GRU(UNITS, return_sequences=True))(layers.Masking()(x))
    ),
    "masked lstm, backwards, states": masked_with_states,
    "gru, sequences, dropout": lambda x: layers.Flatten()(
        layers.GRU(UNITS, return_sequences=True, dropout=0.3, seed=1)(x)
    ),
    "simple, no bias": layers.SimpleRNN(UNITS, use_bias=False),
    "lstm, recurrent dropout": lambda x: layers.LSTM(UNITS, dropout=0.2, recurrent_dropout=0.3, seed=1)(x),
}
UNDER_TORCH = {
    "lstm, sequences": lambda x: layers.GlobalAveragePooling1D()(layers.LSTM(UNITS, return_sequences=True)(x)),
    "lstm, backwards": layers.LSTM(UNITS, go_backwards=True),
    "lstm, no bias": layers.LSTM(UNITS, use_bias=False),
    "lstm, states": with_states,
    "lstm, unrolled": layers.LSTM(UNITS, unroll=True),
    "lstm, relu": layers.LSTM(UNITS, activation="relu"),
    "lstm, not fused": lambda x: layers.LSTM(UNITS, use_cudnn=False)(x),
    "lstm, dropout": lambda x: layers.LSTM(UNITS, dropout=0.3, seed=1)(x),
    "lstm, regularized": layers.LSTM(UNITS, kernel_regularizer="l2", recurrent_constraint=keras.constraints.MaxNorm(1)),
    "lstm, frozen": layers.LSTM(UNITS, trainable=False),
    "lstm, two": lambda x: layers.LSTM(UNITS)(layers.LSTM(4, return_sequences=True)(x)),
    "masked lstm": masked(layers.LSTM(UNITS)),
    "masked lstm, sequences": lambda x: layers.LSTM(3)(layers.LSTM(4, return_sequences=True)(layers.Masking()(x))),
    "masked lstm, zeros": masked(layers.RNN(layers.LSTMCell(UNITS), zero_output_for_mask=True)),
    "masked bidirectional": masked(layers.Bidirectional(layers.LSTM(UNITS))),
    "masked, backwards": masked(layers.GRU(UNITS, go_backwards=True)),
    "gru": layers.GRU(UNITS),
    "gru, reset before": layers.GRU(UNITS, reset_after=False),
    "gru, sequences": lambda x: layers.GlobalMaxPooling1D()(layers.GRU(UNITS, return_sequences=True)(x)),
    "gru, backwards": layers.GRU(UNITS, go_backwards=True),
    "gru, dropout": lambda x: layers.GRU(UNITS, dropout=0.3, recurrent_dropout=0.2, seed=1)(x),
    "gru, both directions": layers.Bidirectional(layers.GRU(UNITS), merge_mode="mul"),
    "gru, twice": shared,
    "simple": layers.SimpleRNN(UNITS),
    "simple, relu, unrolled": layers.SimpleRNN(UNITS, activation="relu", unroll=True),
    "stacked cells": stacked(),
    "in each step": lambda x: layers.TimeDistributed(layers.SimpleRNN(3))(layers.Reshape((2, LENGTH // 2, 3))(x)),
}
VARIANTS = EVERYWHERE | (UNDER_TORCH if TORCH else {})


def data(n=N):
    random = np.random.default_rng(0)
    x = random.normal(size=(n, LENGTH, FEATURES)).astype("float32")
    lengths = random.integers(0, LENGTH + 1, n)
    x[np.arange(LENGTH)[None] >= lengths[:, None]] = 0.0  # some are padded from the first step on
    x[::5, 2] = 0.0  # a hole
    return x, random.integers(0, 3, n)


def model(name, *, layer=None, policy="float32", **options):
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(policy)
    try:
        inputs = keras.Input((LENGTH, FEATURES), **options)
        layer = VARIANTS[name] if layer is None else layer
        if isinstance(layer, keras.Layer):
            layer = another(layer)
        out = layer(inputs)
        out = layers.Flatten()(out) if len(out.shape) > 2 else out
        made = keras.Model(inputs, layers.Dense(3, "softmax", dtype="float32")(out))
    finally:
        keras.config.set_dtype_policy("float32")
    # XLA draws other dropout masks than TensorFlow's own kernels
    asked = "dropout" in name and keras.backend.backend() == "tensorflow"
    made.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=True if asked else "auto",
    )
    return made


def both(name, *, n=N, epochs=2, tolerance=2e-5, **options):
    x, y = data(n)
    fast, plain = model(name, **options), model(name, **options)
    extra = {"validation_data": data(BATCH * 2)}
    got = fit(fast, x, y, epochs=epochs, batch_size=BATCH, seed=SEED, verbose=0, **extra).history
    wanted = plain_fit(plain, x, y, epochs=epochs, **extra)
    assert_same_state(fast, plain, tolerance=tolerance)
    assert_same_history(got, wanted, tolerance=tolerance)
    return fast, plain


@pytest.mark.parametrize("name", VARIANTS)
def test_equal_to_model_fit(name, capsys):
    _, plain = both(name)
    assert capsys.readouterr().err == ""
    if "frozen" not in name:
        with pytest.raises(AssertionError):
            assert_same_state(plain, model(name))


def test_a_partial_last_batch(capsys):
    both("lstm", n=N - 5)
    assert capsys.readouterr().err == ""


def test_stateful_layers_go_on_from_batch_to_batch(capsys):
    x, y = data()

    # under PyTorch, Keras 3.15 itself fails in the backward pass of a stateful layer unless use_cudnn=False
    def twin(choice):
        return model("", layer=lambda x: layers.LSTM(UNITS, stateful=True, use_cudnn=choice)(x), batch_size=BATCH)

    fast, plain = twin("auto"), twin(False)
    fit(fast, x, y, epochs=2, batch_size=BATCH, shuffle=False, verbose=0)
    plain.fit(x, y, epochs=2, batch_size=BATCH, shuffle=False, verbose=0)
    assert_same_state(fast, plain, tolerance=2e-5)
    if TORCH:  # under JAX the states are zeros after model.fit too
        assert np.abs(keras.ops.convert_to_numpy(fast.layers[1].states[0])).max() > 0
    err = capsys.readouterr().err
    assert err == "" or (keras.backend.backend() == "jax" and "lstm" in err and "is not the model's own" in err)


def of_layer(layer, x, *, own):
    """What a layer gives and its gradients, in one program, with or without the loop of the trainer."""
    counted = []

    def loop(*args, **options):
        counted.append(1)
        return backend_loop(*args, **options)

    with own_derivatives(loop, on_cpu=own):
        return results_and_gradients(layer, x), len(counted)


if not TORCH:
    import importlib

    from mnistkit.training import keras_hooks
    from mnistkit.training.recurrent import own_derivatives

    backend_loop = importlib.import_module(f"mnistkit.training.{keras.backend.backend()}.recurrent").loop

    def results_and_gradients(layer, x):
        variables = layer.trainable_variables
        if keras.backend.backend() == "jax":
            import jax

            def loss(values, x):
                out, _ = layer.stateless_call(values, [v.value for v in layer.non_trainable_variables], x)
                return keras.ops.sum(keras.ops.sin(out))

            found = jax.value_and_grad(loss, argnums=(0, 1))([v.value for v in variables], x)
        else:
            import tensorflow as tf

            @tf.function(autograph=False)
            def found_in(x):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    loss = tf.reduce_sum(tf.sin(layer(x)))
                return loss, tape.gradient(loss, [*(v.value for v in variables), x])

            found = found_in(tf.constant(x))
        return [np.asarray(keras.ops.cast(one, "float32")) for one in keras.tree.flatten(found)]

    @pytest.mark.parametrize(
        ("layer", "calls"),
        [
            (layers.LSTM(UNITS, go_backwards=True, bias_initializer="normal"), 1),
            (layers.GRU(UNITS, return_sequences=True, bias_initializer="normal"), 1),
            (layers.GRU(UNITS, use_bias=False), 1),
            (layers.SimpleRNN(UNITS), 1),
            (layers.RNN(layers.LSTMCell(UNITS)), 1),
            (layers.LSTM(UNITS, "relu"), 0),
            (layers.LSTM(UNITS, unroll=True), 0),
            (layers.LSTM(UNITS, implementation=1), 0),
            (layers.GRU(UNITS, reset_after=False), 0),
            (layers.LSTM(UNITS, dtype="mixed_bfloat16"), 0),
            (layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(4)]), 0),
        ],
    )
    def test_usual_layers_have_their_own_derivative(layer, calls):
        x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
        layer.build(x.shape)
        (got, used), (wanted, none) = of_layer(layer, x, own=True), of_layer(layer, x, own=False)
        assert (used, none) == (calls, 0)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)

    def test_without_the_private_names_keras_does_it(monkeypatch):
        monkeypatch.setattr(keras_hooks, "has_recurrent_functions", lambda: False)
        layer = layers.LSTM(UNITS)
        layer.build((4, 5, 3))
        assert of_layer(layer, np.ones((4, 5, 3), "float32"), own=True)[1] == 0

    def test_a_loop_with_wrong_gradients_would_be_noticed(monkeypatch):
        from mnistkit.training import recurrent

        wrong = dataclasses.replace(recurrent.SIMPLE, backward=lambda _, gradients: (gradients[0], None, (None,)))
        monkeypatch.setattr(recurrent, "SIMPLE", wrong)
        layer, x = layers.SimpleRNN(UNITS), np.ones((4, 5, 3), "float32")
        layer.build(x.shape)
        (got, _), (wanted, _) = of_layer(layer, x, own=True), of_layer(layer, x, own=False)
        assert any(np.abs(one - other).max() > 1e-3 for one, other in zip(got, wanted, strict=True))


if TORCH:
    import torch

    from mnistkit.training.torch import opaque, recurrent
    from mnistkit.training.torch.loop import Loop
    from mnistkit.training.torch.opaque import part_of
    from mnistkit.training.torch.time_step import NoLoopError

    def calls_of(made):
        """The operations of the train step's trace."""
        entry = next(entry for key, entry in vars(made)["_mnistkit_programs"].entries.items() if key[0])
        (replay,) = vars(entry.program)["_replays"].values()
        return [node for node in replay._module.graph.nodes if node.op == "call_function"]

    @pytest.mark.parametrize(
        ("name", "kind"),
        [("lstm", "FusedLSTM"), ("lstm, relu", "Loop"), ("gru", "Loop"), ("simple", "Loop"), ("masked lstm", "Loop")],
    )
    def test_the_trace_holds_a_layer_as_two_operations(name, kind):
        x, y = data()
        made = model(name)
        fit(made, x, y, batch_size=BATCH, verbose=0)
        parts = [part for node in calls_of(made) if (part := part_of(node)) is not None]
        assert [type(part).__name__ for part in parts] == [kind, kind]
        assert len(calls_of(made)) < 100

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
    def test_other_precisions(policy, capsys):
        both("lstm", policy=policy, tolerance=1e-5 if policy == "float64" else 0.03)
        both("masked lstm", policy=policy, tolerance=1e-5 if policy == "float64" else 0.03)
        assert capsys.readouterr().err == ""

    class Counting(layers.SimpleRNNCell):
        """A cell of somebody else's: what it does beside computing is not known."""

    def test_long_sequences_of_other_cells_go_to_model_fit(capsys):
        both("", layer=lambda x: layers.RNN(Counting(UNITS))(x))
        assert "PyTorch runs the time steps of a recurrent layer one by one" in capsys.readouterr().err

    def test_short_sequences_of_other_cells_are_traced_as_they_are(capsys):
        both("", layer=lambda x: layers.RNN(Counting(UNITS))(x[:, :4]))
        assert capsys.readouterr().err == ""

    def test_keras_functions_are_back_after_an_error():
        from keras.src import backend

        before = backend.lstm, backend.gru, backend.rnn

        def fail():
            with recurrent.recurrent_parts():
                assert backend.lstm is not before[0]
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert (backend.lstm, backend.gru, backend.rnn) == before

    def test_parts_go_with_the_programs_that_call_them():
        gc.collect()  # what earlier tests left
        before = len(opaque._KNOWN)
        x, y = data()
        made = model("gru")
        fit(made, x, y, batch_size=BATCH, verbose=0)
        assert len(opaque._KNOWN) > before
        del made
        keras.backend.clear_session()
        gc.collect()
        assert len(opaque._KNOWN) <= before

    def test_a_step_that_changes_a_tensor_from_outside_is_no_loop():
        counter = torch.zeros(())

        def step(values, before):
            counter.add_(1.0)
            return [values[0] + before[0], values[0]]

        with pytest.raises(NoLoopError, match="from outside"):
            Loop(step, [torch.ones(3, 2, 2)], [torch.zeros(2, 2)], carries_output=False, returns_all=True)
