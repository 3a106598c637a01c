"""Batches of data sets, loaders, generators and stored arrays train as model.fit trains with them."""

from __future__ import annotations

import os
import random
import signal
import threading
import warnings

import keras
import numpy as np
import pytest
from training_models import BATCH, SEED, assert_same_history, assert_same_state, mlp, pictures, without_copy_keyword

from mnistkit.training import fit
from mnistkit.training.adapters import raw_batches

BACKEND = keras.backend.backend()
X, Y = pictures(BATCH * 6 + 5)
VALIDATION = pictures(BATCH * 2 + 3, seed=1)
BATCHES = [(X[i : i + BATCH], Y[i : i + BATCH]) for i in range(0, len(X), BATCH)]
pytestmark = [
    without_copy_keyword,
    pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning"),  # model.fit says so of its default
]


class Batches(keras.utils.PyDataset):
    """Batches that change with each call and with each epoch."""

    def __init__(self, batches=BATCHES):
        super().__init__()
        self.batches, self.log = batches, []
        self.random = np.random.default_rng(0)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        x, *rest = self.batches[index]
        self.log.append(index)
        return (x + self.random.normal(size=x.shape).astype("float32") / 10, *rest)

    def on_epoch_end(self):
        self.log.append("end")


def forever():
    while True:
        yield from BATCHES


def thrice():
    yield from BATCHES * 3


def tf_data():
    tensorflow = pytest.importorskip("tensorflow")
    return tensorflow.data.Dataset.from_tensor_slices((X, Y)).shuffle(50, seed=3).batch(BATCH)


def loader():
    torch = pytest.importorskip("torch")
    torch.manual_seed(5)
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    return torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True)


def weighted():
    return Batches([(x, y, np.linspace(0, 2, len(x), dtype="float32")) for x, y in BATCHES])


def doubles():
    yield from [(x.astype("float64"), y) for x, y in BATCHES] * 2


def net():
    model = mlp("adam", activation="tanh")
    if BACKEND == "tensorflow":  # without XLA, fit counts a step more where a generator ends
        model.compile(model.optimizer, model.loss, metrics=["accuracy"], weighted_metrics=["mae"], jit_compile=True)
    return model


def trained(fitted, make, *, model=None, **options):
    """Train a model; return it with its history, the source and the warnings."""
    model = net() if model is None else model
    source = make()
    random.seed(4)
    options = {name: value() if callable(value) else value for name, value in options.items()}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        history = fitted(model, source, verbose=0, **options).history
    said = [str(one.message) for one in seen if "ran out of data" in str(one.message)]
    return model, history, source, said


def assert_as_fit(make, capsys, **options):
    ours, got, source, said = trained(fit, make, **options)
    err = capsys.readouterr().err
    theirs, wanted, other, wanted_said = trained(keras.Model.fit, make, **options)
    assert_same_state(ours, theirs, tolerance=3e-5)
    assert_same_history(got, wanted, tolerance=3e-5)
    assert said == wanted_said
    assert not [one for one in threading.enumerate() if one.name == "mnistkit-batches"]
    assert "mnistkit:" not in err
    return ours, source, other


@pytest.mark.parametrize("make", [Batches, weighted, tf_data, loader], ids=lambda one: one.__name__)
def test_what_can_be_read_again(make, capsys):
    ours, source, other = assert_as_fit(make, capsys, epochs=3)
    if isinstance(source, Batches):
        assert source.log == other.log or BACKEND == "tensorflow"  # which reads ahead in threads of its own
        assert source.log.count("end") == other.log.count("end")
    shorter, _, _, _ = trained(fit, make, epochs=3, steps_per_epoch=5)
    with pytest.raises(AssertionError):
        assert_same_state(ours, shorter)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (forever, {"epochs": 3, "steps_per_epoch": 5}),
        (thrice, {"epochs": 2}),  # the second epoch finds nothing
        (thrice, {"epochs": 4, "steps_per_epoch": 9}),  # ends within an epoch
        (doubles, {"epochs": 1}),
    ],
    ids=["forever", "exhausted", "exhausted within", "doubles"],
)
def test_generators(make, options, capsys):
    assert_as_fit(make, capsys, **options)


def test_an_iterator_is_taken_as_a_generator(capsys):
    ours, got, _, _ = trained(fit, lambda: iter(BATCHES), epochs=1)
    theirs, wanted, _, _ = trained(keras.Model.fit, lambda: (batch for batch in BATCHES), epochs=1)
    assert_same_state(ours, theirs)
    assert_same_history(got, wanted)
    assert "mnistkit:" not in capsys.readouterr().err
    with pytest.raises(ValueError, match="Unrecognized data type"):
        net().fit(iter(BATCHES), verbose=0)


@pytest.mark.skipif(BACKEND == "tensorflow", reason="model.fit itself reads ahead there")
def test_no_batch_is_read_that_fit_would_not_read():
    counts = []
    for fitted in (fit, keras.Model.fit):
        read = []

        def counted(read=read):
            for batch in forever():
                read.append(1)
                yield batch

        trained(fitted, counted, epochs=2, steps_per_epoch=5)
        counts.append(len(read))
    assert counts == [10, 10]


def test_class_weights_of_a_data_set(capsys):
    weights = {0: 5.0, 3: 0.1, 7: 2.0}
    ours, _, _ = assert_as_fit(Batches, capsys, epochs=2, class_weight=weights)
    with pytest.raises(AssertionError):
        assert_same_state(ours, trained(fit, Batches, epochs=2)[0])


@pytest.mark.parametrize("validation", [lambda: VALIDATION, tf_data, Batches], ids=["arrays", "tf.data", "PyDataset"])
def test_validation(validation, capsys):
    assert_as_fit(Batches, capsys, epochs=2, validation_data=validation)


def test_arrays_with_steps_of_a_validation_set(capsys):
    options = {"batch_size": BATCH, "shuffle": False, "epochs": 2, "validation_data": tf_data, "validation_steps": 3}
    ours, got, _, _ = trained(lambda model, x, **rest: fit(model, x, Y, **rest), lambda: X, **options)
    theirs, wanted, _, _ = trained(lambda model, x, **rest: model.fit(x, Y, **rest), lambda: X, **options)
    assert_same_state(ours, theirs)
    assert_same_history(got, wanted)
    assert "mnistkit:" not in capsys.readouterr().err


def test_batches_of_many_shapes(capsys):
    def words():
        rng = np.random.default_rng(0)
        for length in (5, 7, 5, 9, 4, 7, 5, 5):
            yield rng.integers(0, 9, (BATCH, length)), rng.random((BATCH, 1)).astype("float32")

    def make():
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Embedding(9, 4), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((None,), dtype="int32"), *layers])
        # without XLA, model.fit does a step more there where a generator ends
        model.compile("adam", "mse", jit_compile=BACKEND == "tensorflow" or "auto")
        return model

    ours, got, _, _ = trained(fit, words, model=make())
    theirs, wanted, _, _ = trained(keras.Model.fit, words, model=make())
    assert_same_state(ours, theirs)
    assert_same_history(got, wanted)
    assert "mnistkit:" not in capsys.readouterr().err


class Reads(keras.layers.Layer):
    """Something that no backend traces once for all steps."""

    def call(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return x * 1.0


def test_what_cannot_be_compiled_is_done_by_keras_own_steps(capsys):
    def make():
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((64,)), Reads(), keras.layers.Dense(10, "softmax")])
        model.compile("adam", "categorical_crossentropy")
        return model

    ours, got, _, _ = trained(fit, Batches, epochs=2, model=make())
    err = capsys.readouterr().err
    assert err.startswith("mnistkit: training with Keras' own steps, because ")
    assert "Reads.calls changes in every step" in err
    theirs, wanted, _, _ = trained(keras.Model.fit, Batches, epochs=2, model=make())
    assert_same_state(ours, theirs)
    assert_same_history(got, wanted)


def test_errors_of_a_source_come_after_the_steps_before_them():
    def failing():
        yield from BATCHES[:4]
        raise ZeroDivisionError("from the source")

    ours, theirs = net(), net()
    errors = []
    for model, fitted in ((ours, fit), (theirs, keras.Model.fit)):
        with pytest.raises(Exception, match="from the source") as error:
            trained(fitted, failing, model=model)
        errors.append(error.type)
    assert errors[0] is errors[1]
    if BACKEND != "tensorflow":  # whose own threads meet the error before the steps are done
        assert_same_state(ours, theirs)
        assert int(keras.ops.convert_to_numpy(ours.optimizer.iterations.value)) == 4


def test_ctrl_c_ends_the_thread():
    def pressed():
        yield from BATCHES[:4]
        os.kill(os.getpid(), signal.SIGINT)
        yield from BATCHES

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(net(), pressed(), steps_per_epoch=9, verbose=0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not [one for one in threading.enumerate() if one.name == "mnistkit-batches"]


class Stored:
    """An array as Zarr and h5py have them: it gives rows in their order, and has nothing else."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        if not isinstance(rows, slice):
            assert (np.diff(rows) > 0).all()
        taken = self.array[rows]
        self.read = max(self.read, len(taken))
        return taken


@pytest.mark.parametrize("kind", ["memmap", "stored"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_arrays_larger_than_memory(kind, shuffle, tmp_path, capsys):
    data = X.astype("float64")
    if kind == "memmap":
        data.tofile(tmp_path / "x")
        stored = np.memmap(tmp_path / "x", dtype="float64", mode="r", shape=data.shape)
    else:
        stored = Stored(data)
    options = {"batch_size": BATCH, "epochs": 2, "seed": SEED, "shuffle": shuffle, "verbose": 0}
    options |= {"validation_split": 0.25, "class_weight": {1: 3.0}}
    ours, resident = net(), net()
    got = fit(ours, stored, Y, **options).history
    wanted = fit(resident, X, Y, **options).history
    assert_same_state(ours, resident, tolerance=1e-6)
    assert_same_history(got, wanted, tolerance=1e-6)
    assert "mnistkit:" not in capsys.readouterr().err
    if kind == "stored":
        assert stored.read <= len(X)


def test_arguments_that_do_not_go_with_a_source():
    with pytest.raises(ValueError, match="`y` should not be passed"):
        fit(net(), Batches(), Y, verbose=0)


def lists_at_last():
    yield from BATCHES[:3]
    yield from ((x, y.tolist()) for x, y in BATCHES[3:])


@pytest.mark.parametrize("make", [lists_at_last, doubles], ids=lambda one: one.__name__)
def test_keras_reads_the_batches_from_the_first_on_that_hold_more_than_plain_arrays(make, monkeypatch, capsys):
    read = []
    original = raw_batches.hooks.keras_iterator

    def noted(*args, **options):
        read.append(options["backend"])
        return original(*args, **options)

    monkeypatch.setattr(raw_batches.hooks, "keras_iterator", noted)
    if make is doubles:
        assert_as_fit(make, capsys)
        assert not read
        return
    errors = []
    for fitted in (fit, keras.Model.fit):
        try:
            trained(fitted, make)
        except Exception as error:  # noqa: BLE001 - whatever fit raises, or does not
            errors.append(type(error))
        else:
            errors.append(None)
    assert errors[0] is errors[1]
    assert read


def test_the_random_numbers_that_a_source_may_draw_are_those_of_fit():
    torch = pytest.importorskip("torch")

    def drawing():
        while True:
            yield BATCHES[0][0] + torch.rand(()).item(), BATCHES[0][1]

    if BACKEND == "tensorflow":
        pytest.skip("model.fit itself reads ahead there")
    ends = []
    for fitted in (fit, keras.Model.fit):
        torch.manual_seed(9)
        trained(fitted, drawing, epochs=2, steps_per_epoch=3)
        ends.append(torch.rand(2).tolist())
    assert ends[0] == ends[1]
