"""Recurrent layers with ``stateful=True``: their states are inputs and outputs of the file."""

from __future__ import annotations

import json

import keras
import numpy as np
import onnx
import pytest
from comparing import redraw
from one_backend import few

from mnistkit import StatefulSession
from mnistkit.core.contract import read_states
from mnistkit.core.errors import InputError, ParityError, UnsupportedError
from mnistkit.core.runtime import Runtime
from mnistkit.export import export_onnx

L = keras.layers
ROWS, CHUNKS = 2, (1, 3, 17)
SIGNAL = np.random.default_rng(0).normal(size=(ROWS, sum(CHUNKS), 3)).astype("float32")
TOLERANCE = 1e-5


def chain(*layers, shape=(None, 3)):
    return redraw(keras.Sequential([keras.Input(batch_shape=(ROWS, *shape)), *layers]))


def every_kind():
    x = keras.Input(batch_shape=(ROWS, None, 3))
    options = {"stateful": True, "return_sequences": True}
    shared = L.GRU(3, **options)
    y = shared(shared(L.Masking()(x)))
    y = L.Bidirectional(L.LSTM(2, **options))(y)
    y = L.RNN([L.LSTMCell(3), L.GRUCell(3)], **options)(y)  # alike, or JAX cannot mask them
    return redraw(keras.Model(x, L.Dense(2)(L.SimpleRNN(4, stateful=True)(y))))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.recurrent, self.head = L.GRU(4, stateful=True, return_state=True), L.Dense(3)

    def call(self, x):
        output, state = self.recurrent(x)
        return self.head(output), state


def subclassed():
    model = Subclassed()
    model(SIGNAL[:, :2])
    return redraw(model)


MODELS = {
    "masked, called twice, both directions, stacked": every_kind,
    "subclassed model": subclassed,
    "half precision": lambda: chain(L.GRU(4, stateful=True, dtype="mixed_float16")),
    "convolutional": lambda: chain(L.ConvLSTM1D(2, 2, stateful=True), shape=(None, 3, 1)),
}


def variables_of(model):
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, L.RNN) and layer.stateful]
    return [v for layer in layers for v in keras.tree.flatten(layer.states)]


def reset(model):
    """What ``reset_state()`` does, which in Keras fails for stacked cells."""
    for variable in variables_of(model):
        variable.assign(keras.ops.zeros_like(variable.value))


def chunks(*, channels=False):
    ends = np.cumsum(CHUNKS)
    parts = [SIGNAL[:, end - count : end] for end, count in zip(ends, CHUNKS, strict=True)]
    return [part[..., None] for part in parts] if channels else parts


def answers(model, x):
    return [keras.ops.convert_to_numpy(answer) for answer in keras.tree.flatten(model(x))]


def largest(model, session):
    """Largest difference over the chunks, each after the other on both sides."""
    (taken,) = session.inputs
    inputs = chunks(channels=len(taken.shape) > SIGNAL.ndim)
    pairs = [(answers(model, x), session.run({taken.name: x}).values()) for x in inputs]
    return max(float(np.abs(a - b).max()) for one, two in pairs for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize(
    "kind", few(MODELS, everywhere=["masked, called twice, both directions, stacked", "half precision"])
)
def test_chunks_of_1_3_and_17_steps_answer_as_in_keras(kind, tmp_path):
    if kind == "half precision" and keras.backend.backend() == "torch":
        pytest.skip("Keras loses the state there: it assigns it to a copy of the variable")
    model = MODELS[kind]()
    inputs = keras.InputSpec("float32", (ROWS, None, 3)) if kind == "subclassed model" else None
    report = export_onnx(model, tmp_path / "stateful.onnx", inputs=inputs)
    assert report.exporter == "native"
    before = [keras.ops.convert_to_numpy(v.value) for v in variables_of(model)]

    session = StatefulSession(report.path)
    assert len(session.states) == len(report.states) == len(before)
    reset(model)
    tolerance = 2e-3 if kind == "half precision" else TOLERANCE
    assert largest(model, session) <= tolerance
    reset(model)
    assert largest(model, session) > 10 * tolerance  # the twin: the session was not reset
    reset(model)
    session.reset()
    assert largest(model, session) <= tolerance


def test_an_export_leaves_the_states_of_the_model_alone(tmp_path):
    model = chain(L.LSTM(4, stateful=True))
    model(SIGNAL)
    before = [keras.ops.convert_to_numpy(v.value).copy() for v in variables_of(model)]
    assert np.abs(before[0]).max() > 0
    export_onnx(model, tmp_path / "stateful.onnx")
    for old, variable in zip(before, variables_of(model), strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable.value))


def test_states_are_named_after_their_layer_and_listed_in_the_file_and_the_report(tmp_path):
    model = chain(L.LSTM(4, stateful=True, name="memory"), L.Dense(2, name="head"))
    path = tmp_path / "stateful.onnx"
    report = export_onnx(model, path, input_names=["signal"], rename={"memory_state_1": "cell"})
    pairs = (("memory_state_0", "memory_next_state_0"), ("cell", "memory_next_state_1"))
    assert report.states == read_states(Runtime(path, device="cpu").metadata) == pairs
    assert "states: memory_state_0 -> memory_next_state_0, cell -> memory_next_state_1" in str(report)
    assert json.loads(report.provenance_path.read_text(encoding="utf-8"))["states"] == [list(pair) for pair in pairs]
    assert [tensor.name for tensor in StatefulSession(path).inputs] == ["signal"]
    assert [tensor.name for tensor in StatefulSession(path).outputs] == ["head"]


def test_a_file_without_states_begins_every_call_with_zeros(tmp_path):
    model = chain(L.LSTM(4, stateful=True))
    model(SIGNAL)
    report = export_onnx(model, tmp_path / "each.onnx", stateful=False)
    assert report.states == ()
    assert "states" not in report.provenance
    runtime = Runtime(report.path, device="cpu")
    (name,) = (tensor.name for tensor in runtime.inputs)
    for x in chunks():
        reset(model)
        (expected,) = answers(model, x)
        np.testing.assert_allclose(runtime.run({name: x})["lstm"], expected, atol=TOLERANCE)
    (other,) = answers(model, x)  # the twin: Keras goes on
    assert np.abs(runtime.run({name: x})["lstm"] - other).max() > 10 * TOLERANCE


def test_the_command_has_both_ways(cli, tmp_path):
    model = chain(L.GRU(2, stateful=True))
    model.save(tmp_path / "m.keras")
    assert "states: gru_state_0 -> gru_next_state_0" in cli("export", tmp_path / "m.keras").out
    ran = cli("export", tmp_path / "m.keras", "--no-stateful")
    assert ran.code == 0
    assert "states" not in ran.out


def test_states_that_are_written_wrongly_are_found(tmp_path, monkeypatch):
    """The twin of the verification: it compares what a call leaves, not only what it answers."""
    from mnistkit.export import choose

    def swapped(*args, **kwargs):
        written = convert(*args, **kwargs)
        outputs = written.proto.graph.output
        outputs[1].name, outputs[2].name = outputs[2].name, outputs[1].name
        return written

    convert = choose.convert
    monkeypatch.setattr(choose, "convert", swapped)
    with pytest.raises(ParityError, match="next_state"):
        export_onnx(chain(L.LSTM(4, stateful=True)), tmp_path / "stateful.onnx")
    assert not list(tmp_path.iterdir())


class Doubling(keras.layers.Layer):
    """A cell that answers with twice its state."""

    def __init__(self):
        super().__init__()
        self.inner, self.state_size, self.output_size = L.SimpleRNNCell(2), 2, 2

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x, states):
        _, new = self.inner(x, states)
        return 2 * new[0], new


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        ("LSTM", lambda: L.LSTM(2, return_sequences=True)),
        ("a loop", lambda: L.GRU(2, return_sequences=True, activation="gelu")),
        ("zeros for masked steps", lambda: L.RNN(L.GRUCell(2), return_sequences=True, zero_output_for_mask=True)),
        ("a cell of one's own", lambda: L.RNN(Doubling(), return_sequences=True)),
    ],
)
def test_masked_steps_answer_as_the_backend_does_from_given_states(kind, layer, tmp_path):
    x = keras.Input((None, 3))
    states = [keras.Input((2,)) for _ in range(2 if kind == "LSTM" else 1)]
    model = redraw(keras.Model([x, *states], layer()(L.Masking()(x), initial_state=states)))
    path = export_onnx(model, tmp_path / "masked.onnx").path
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(2, 5, 3)).astype("float32")
    signal[0, [0, 1, 3]] = 0  # masked
    feeds = [signal, *(rng.normal(size=(2, 2)).astype("float32") for _ in states)]
    expected = keras.ops.convert_to_numpy(model(feeds))
    runtime = Runtime(path, device="cpu")
    (got,) = runtime.run({t.name: array for t, array in zip(runtime.inputs, feeds, strict=True)}).values()
    np.testing.assert_allclose(got, expected, atol=TOLERANCE)
    assert np.abs(expected[0, 0] - expected[1, 0]).max() > 10 * TOLERANCE


def test_what_cannot_keep_states_is_refused(tmp_path):
    path = tmp_path / "no.onnx"
    with pytest.raises(InputError, match=r"no layer of .* has stateful=True; export it without --stateful"):
        export_onnx(chain(L.LSTM(4)), path, stateful=True)
    with pytest.raises(InputError, match="keep states for batches of 2, not 5"):
        export_onnx(chain(L.LSTM(4, stateful=True)), path, batch=5)
    with pytest.raises(UnsupportedError, match=r"cannot write layers with stateful=True.* use the native exporter"):
        export_onnx(chain(L.LSTM(4, stateful=True)), path, exporter="torch")
    assert not list(tmp_path.iterdir())
    assert export_onnx(chain(L.LSTM(4, stateful=True)), path, batch=ROWS).states
    assert onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_value == ROWS
