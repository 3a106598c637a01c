"""State outside the model's lists, and data and metrics of unusual kinds: the trainer gives what model.fit gives."""

from __future__ import annotations

import collections
import importlib

import keras
import numpy as np
import pytest
from training_models import BATCH, assert_same_history, assert_same_state, both, pictures, without_copy_keyword

from mnistkit.training import fit, pytree

BACKEND = keras.backend.backend()
DATA = pictures(BATCH * 6)
pytestmark = without_copy_keyword
on_torch = pytest.mark.skipif(BACKEND != "torch", reason="model.fit traces its step on the other backends too")


def net(*layers, loss="categorical_crossentropy", metrics=None, **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((64,)), *layers, keras.layers.Dense(10, activation="softmax")])
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=metrics, **options)
    return model


class Weighted(keras.losses.Loss):
    """A loss with a weight that a callback changes, as in KL annealing."""

    def __init__(self):
        super().__init__()
        self.weight = keras.Variable(1.0, trainable=False)

    def call(self, y, p):
        return self.weight * keras.ops.mean(keras.ops.square(y - p), axis=-1)


class Running(Weighted):
    """A loss that divides by its own running mean."""

    def call(self, y, p):
        loss = keras.ops.mean(keras.ops.square(y - p), axis=-1)
        self.weight.assign(0.9 * self.weight + 0.1 * keras.ops.stop_gradient(keras.ops.mean(loss)))
        return loss / self.weight


def triple(model):
    change = lambda _epoch, _logs: model.loss.weight.assign(model.loss.weight.value * 3)  # noqa: E731
    return keras.callbacks.LambdaCallback(on_epoch_end=change)


def run(make, fitted, *, callback=None):
    keras.utils.set_random_seed(3)  # layers that make() gives to net() draw their seeds before net() sets one
    model = make()
    callbacks = [callback(model)] if callback else None
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0, "callbacks": callbacks}
    history = fitted(model, *DATA, **options).history
    return model, history


def assert_as_model_fit(make, *, callback=None):
    """Run twins with the trainer and with model.fit alone; return the trainer's."""
    ours, got = run(make, fit, callback=callback)
    theirs, wanted = run(make, type(make()).fit, callback=callback)
    assert_same_history(got, wanted)
    assert_same_state(ours, theirs)
    return ours, theirs


def losses(make, callback=None):
    return run(make, fit, callback=callback)[1]["loss"]


@pytest.mark.parametrize("compiled", ["auto", False])
def test_a_loss_weight_that_a_callback_changes(compiled, capsys):
    assert_as_model_fit(lambda: net(loss=Weighted(), jit_compile=compiled), callback=triple)
    err = capsys.readouterr().err
    assert ("which is not the model's own" in err) if BACKEND == "jax" else err == ""
    constant, changed = losses(lambda: net(loss=Weighted())), losses(lambda: net(loss=Weighted()), triple)
    if BACKEND != "jax":  # there model.fit reads such a variable once, when it compiles
        assert changed[1] > 2 * constant[1]


class Variable(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose rate a callback changes."""

    def __init__(self):
        self.rate = keras.Variable(0.1, trainable=False)

    def __call__(self, step):  # noqa: ARG002 - the schedule of Keras
        return self.rate * 1.0


class Strength(keras.regularizers.Regularizer):
    factor = 0.1

    def __call__(self, x):
        return self.factor * keras.ops.sum(keras.ops.square(x))


def changes(what):
    """Return a model, and a callback that changes a number outside the model's variables after each epoch."""
    keras.utils.set_random_seed(3)  # a layer draws the seed of its weights when it is made
    layers = {
        "rate of a dropout": [keras.layers.Dropout(0.5, seed=1)],
        "strength of a regularizer": [keras.layers.Dense(4, kernel_regularizer=Strength())],
        "frozen layer": [keras.layers.Dense(4)],
    }
    model = net(*layers.get(what, []), jit_compile=True if BACKEND == "tensorflow" else "auto")
    schedule = Variable()
    if what == "variable of a schedule":
        model.compile(keras.optimizers.SGD(schedule), "categorical_crossentropy")
    change = {
        "rate of a dropout": lambda: setattr(model.layers[0], "rate", 0.05),
        "strength of a regularizer": lambda: setattr(model.layers[0].kernel_regularizer, "factor", 2.0),
        "variable of a schedule": lambda: schedule.rate.assign(0.9),
        "frozen layer": lambda: setattr(model.layers[-1], "trainable", False),
        "momentum": lambda: setattr(model.optimizer, "clipvalue", 1e-5),
    }[what]
    return model, lambda _: keras.callbacks.LambdaCallback(on_epoch_end=lambda _epoch, _logs: change())


@pytest.mark.parametrize(
    "what", ["rate of a dropout", "strength of a regularizer", "variable of a schedule", "frozen layer", "momentum"]
)
def test_what_a_callback_changes_counts_as_in_model_fit(what):
    if BACKEND == "jax" and what == "frozen layer":
        pytest.skip("model.fit raises: the lists of variables have other lengths")
    (ours, ours_changes), (theirs, theirs_changes) = changes(what), changes(what)
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0}
    data = [array[:-3] for array in DATA]  # the last batch is a step of its own
    got = fit(ours, *data, callbacks=[ours_changes(ours)], **options).history
    wanted = theirs.fit(*data, callbacks=[theirs_changes(theirs)], **options).history
    assert_same_history(got, wanted)
    assert_same_state(ours, theirs)


@pytest.mark.skipif(BACKEND == "jax", reason="model.fit raises: the lists of variables have other lengths")
@pytest.mark.parametrize("weights", [None, np.ones(len(DATA[0]), "float32")], ids=["the same data", "other data"])
def test_a_layer_frozen_between_two_calls_stands_still_where_it_does_in_model_fit(weights):
    """Under TensorFlow ``model.fit`` goes on with the step that it has, and compiles one for data of another kind."""

    def trained(fitted):
        keras.utils.set_random_seed(3)  # a layer draws the seed of its weights when it is made
        model = net(keras.layers.Dense(4))
        options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
        fitted(model, *DATA, sample_weight=weights, **options)
        model.layers[-1].trainable = False
        before = model.layers[-1].get_weights()[0]
        fitted(model, *DATA, **options)
        return model, np.array_equal(model.layers[-1].get_weights()[0], before)

    (ours, stood), (theirs, stands) = trained(fit), trained(lambda model, *data, **options: model.fit(*data, **options))
    assert stood == stands == (BACKEND == "torch" or weights is not None)
    assert_same_state(ours, theirs)


@pytest.mark.skipif(BACKEND == "jax", reason="model.fit raises: the lists of variables have other lengths")
@pytest.mark.parametrize(
    "calls",
    [
        [(32, 8), (30, 8), (32, 8), (24, 6)],
        [(30, 8), (32, 8)],
        [(32, 8), (30, 6)],
        [(5, 8), (32, 8)],
    ],
    ids=str,
)
def test_a_layer_frozen_between_calls_with_other_batches(calls):
    """Under TensorFlow ``model.fit`` compiles a step where batches have another size, or the last one is smaller."""

    def trained(fitted):
        keras.utils.set_random_seed(3)  # a layer draws the seed of its weights when it is made
        model = net(keras.layers.Dense(4))
        stood = []
        for n, size in calls:
            before = model.layers[-1].get_weights()[0]
            fitted(model, *(array[:n] for array in DATA), batch_size=size, shuffle=False, verbose=0)
            stood.append(np.array_equal(model.layers[-1].get_weights()[0], before))
            model.layers[-1].trainable = not model.layers[-1].trainable
        return model, stood

    (ours, stood), (theirs, stands) = trained(fit), trained(lambda model, *data, **options: model.fit(*data, **options))
    assert stood == stands
    assert_same_state(ours, theirs)


@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights")
def test_an_optimizer_with_nothing_to_train_has_the_variables_that_it_has_after_model_fit():
    """Under TensorFlow it has none of its own then."""

    def trained(fitted):
        model = net()
        model.trainable = False
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
        model.compile(optimizer, "categorical_crossentropy", jit_compile=False)
        fitted(model, *DATA, batch_size=BATCH, shuffle=False, verbose=0)
        return model

    ours, theirs = trained(fit), trained(lambda model, *data, **options: model.fit(*data, **options))
    assert len(ours.optimizer.variables) == len(theirs.optimizer.variables)
    assert ours.optimizer.built == theirs.optimizer.built
    assert_same_state(ours, theirs)


def python_layers():
    class Count(keras.layers.Layer):
        steps = 0

        def call(self, x):
            self.steps += 1
            return x * self.steps

    class Draw(keras.layers.Layer):
        def call(self, x):
            return x + np.random.normal()  # noqa: NPY002 - what users do

    class Note(keras.layers.Layer):
        size = None

        def call(self, x):
            self.size = x.shape[0]
            return x * 1.0

    return {"counter": Count, "NumPy's numbers": Draw, "size of the batch": Note}


class Counting(keras.metrics.Metric):
    """A metric that keeps its state in Python, as one does who comes from another framework."""

    def __init__(self):
        super().__init__(name="first")
        self.reset_state()

    def reset_state(self):
        self.steps, self.total = 0, 0.0

    def update_state(self, y, p, sample_weight=None):  # noqa: ARG002 - the signature of Keras
        self.steps += 1
        self.total = self.total + keras.ops.stop_gradient(keras.ops.mean(p[:, 0]))

    def result(self):
        return self.total / max(self.steps, 1)


@on_torch
def test_a_metric_that_keeps_its_state_in_python(capsys):
    assert_as_model_fit(lambda: net(metrics=[Counting()]))
    assert "Counting.steps changes" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["counter", "NumPy's numbers", "size of the batch"])
def test_python_code_that_changes_in_each_step(kind, capsys):
    assert_as_model_fit(lambda: net(python_layers()[kind]()))
    err = capsys.readouterr().err
    reasons = {"counter": "Count.steps changes", "NumPy's numbers": "NumPy's random generator changes"}
    assert reasons[kind] in err if kind in reasons else err == ""


def test_data_that_a_callback_changes_in_place_count_in_the_next_epoch():
    def run_changed(fitted, *, change):
        model, x, y = net(), DATA[0].copy(), DATA[1].copy()

        def alter(_epoch, _logs):
            x[:] = 0

        callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=alter)] if change else None
        options = {"epochs": 2, "batch_size": BATCH, "shuffle": False, "verbose": 0, "validation_data": (x, y)}
        return fitted(model, x, y, callbacks=callbacks, **options).history

    got, unchanged = run_changed(fit, change=True), run_changed(fit, change=False)
    assert got["loss"][0] == unchanged["loss"][0]
    assert abs(got["loss"][1] - unchanged["loss"][1]) > 1e-2
    assert abs(got["val_loss"][1] - unchanged["val_loss"][1]) > 1e-2
    if BACKEND != "tensorflow":  # there model.fit copies the data at the beginning
        assert_same_history(got, run_changed(type(net()).fit, change=True))


def test_data_are_copied_again_only_where_a_bit_differs():
    x, y = np.zeros((5000, 70), "float32"), np.arange(5000)
    device = importlib.import_module(f"mnistkit.training.{BACKEND}.program")
    held = [device.host_view(leaf) for leaf in pytree.tree_leaves(device.to_device((x.copy(), y.copy())))]
    assert pytree.holds_same((x, y, None), held)
    assert pytree.holds_same((x[:4000], y[:4000], None), held)  # some backends fill up
    for place, value in (((4999, 69), 1e-45), ((0, 0), -0.0), ((2500, 3), np.nan)):
        changed = x.copy()
        changed[place] = value
        assert not pytree.holds_same((changed, y, None), held)
    assert not pytree.holds_same((x, np.roll(y, 1), None), held)
    assert not pytree.holds_same((x, y, y), held)
    assert not pytree.holds_same((x.astype("float16"), y, None), held)


class Raises(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002 - the hook's signature
        if epoch == 1:
            raise ZeroDivisionError


def test_a_callback_that_raises_leaves_the_averaged_weights_as_model_fit_does():
    models = []
    for fitted in (fit, keras.Model.fit):
        model = net()
        model.compile(keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9), "categorical_crossentropy")
        with pytest.raises(ZeroDivisionError):
            fitted(model, *DATA, epochs=3, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[Raises()])
        models.append(model)
    assert_same_state(*models)
    averages = [v for v in models[0].optimizer.variables if "average" in v.path]
    kernel = keras.ops.convert_to_numpy(models[0].trainable_variables[0].value)
    is_average = np.allclose(kernel, keras.ops.convert_to_numpy(averages[0].value), atol=1e-7)
    assert is_average == (BACKEND == "jax")


def test_other_numbers_of_samples_keep_few_programs():
    model = net()
    for n in range(BATCH, BATCH + 9):
        fit(model, DATA[0][:n], DATA[1][:n], batch_size=BATCH, verbose=0)
    (entry,) = vars(model)["_mnistkit_programs"].entries.values()
    sizes = next(part for name, part in vars(entry.program).items() if name in {"_traced", "_sizes", "_replays"})
    assert len(entry.lengths) <= 3
    assert BATCH in sizes
    assert len(sizes) <= 7


@on_torch
def test_mixed_float16_with_sgd(capsys):
    def make():
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Dense(8, "tanh", dtype="mixed_float16"), keras.layers.Dense(10, "softmax")]
        model = keras.Sequential([keras.Input((64,)), *layers])
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9))
        model.compile(scaled, "categorical_crossentropy")
        return model

    fast, plain, got, wanted = both(make, DATA, epochs=2)
    assert_same_state(fast, plain, tolerance=1e-3)
    assert_same_history(got, wanted, tolerance=1e-3)
    assert capsys.readouterr().err == ""


@on_torch
def test_a_loss_with_a_running_mean(capsys):
    ours, theirs = assert_as_model_fit(lambda: net(loss=Running()))
    assert capsys.readouterr().err == ""
    assert float(ours.loss.weight.value) == pytest.approx(float(theirs.loss.weight.value), abs=1e-6)
    assert float(ours.loss.weight.value) != 1.0


def torch_layers():
    import torch

    class Center(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(64))

        def call(self, x, *, training=False):
            if training:
                self.mean.mul_(0.9).add_(x.mean(0).detach(), alpha=0.1)
            return x - self.mean

    class Count(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.steps = 0

        def call(self, x, *, training=False):
            if training:
                self.steps += 1
            return x / (1 + self.steps)

    class Next(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(7)

        def call(self, x, *, training=False):
            if not training:
                return x
            first = keras.random.normal((1, 64), seed=self.generator)
            self.generator.next()
            return x + first + keras.random.normal((1, 64), seed=self.generator)

    class Branch(Next):
        def call(self, x, *, training=False):
            if not training:
                return x
            noise = keras.ops.cond(
                keras.ops.sum(x) > 0,
                lambda: keras.random.normal((1, 64), seed=self.generator),
                lambda: keras.ops.zeros((1, 64)),
            )
            return x + noise

    wrapped = keras.layers.TorchModuleWrapper
    return {
        "buffer": Center,
        "counter": Count,
        "next seed": Next,
        "random in a condition": Branch,
        "batch normalization": lambda: wrapped(torch.nn.BatchNorm1d(64)),
        "dropout": lambda: wrapped(torch.nn.Dropout(0.5)),
        "dropout without a seed": lambda: keras.layers.Dropout(0.5),
    }


FALLS_BACK = {
    "counter": "Count.steps changes in every step",
    "next seed": "it calls SeedGenerator.next()",
    "random in a condition": "it draws random numbers inside keras.ops.cond",
}


@on_torch
@pytest.mark.parametrize(
    "kind",
    [
        "buffer",
        "counter",
        "next seed",
        "random in a condition",
        "batch normalization",
        "dropout",
        "dropout without a seed",
    ],
)
def test_layers_with_state_of_their_own(kind, capsys):
    ours, theirs = assert_as_model_fit(lambda: net(torch_layers()[kind]()))
    err = capsys.readouterr().err
    assert FALLS_BACK[kind] in err if kind in FALLS_BACK else err == ""
    buffers = [dict(layer.named_buffers()) for layer in (ours.layers[0], theirs.layers[0])]
    for name, tensor in buffers[0].items():
        np.testing.assert_allclose(tensor.numpy(), buffers[1][name].numpy(), rtol=0, atol=1e-5)
        assert np.abs(tensor.numpy()).max() > 0
    assert bool(buffers[0]) == (kind in {"buffer", "batch normalization"})


@on_torch
def test_no_epoch_moves_no_buffer():
    model = net(torch_layers()["batch normalization"]())
    fit(model, *DATA, epochs=0, batch_size=BATCH, verbose=0)
    assert int(dict(model.layers[0].named_buffers())["module.num_batches_tracked"]) == 0


@on_torch
@pytest.mark.parametrize("kind", ["masked size", "masked mean", "unique"])
def test_shapes_that_depend_on_values(kind, capsys):
    def loss(y, p):
        known = y[:, 0] > 0
        if kind == "masked size":
            return ((p - y) ** 2 * ~known[:, None]).sum() / p[~known].shape[0]
        if kind == "masked mean":
            return ((p[~known] - y[~known]) ** 2).mean()
        return ((p - y) ** 2).sum() / y.argmax(1).unique().shape[0]

    assert_as_model_fit(lambda: net(loss=loss))
    assert "has a shape that depends on values" in capsys.readouterr().err


def test_a_schedule_that_a_callback_replaces():
    schedule = keras.optimizers.schedules.ExponentialDecay

    def make():
        model = net()
        model.compile(keras.optimizers.SGD(schedule(0.5, 10, 0.9)), "categorical_crossentropy")
        return model

    def stop(model):
        def change(_epoch, _logs):
            model.optimizer.learning_rate = schedule(1e-6, 10, 0.9)

        return keras.callbacks.LambdaCallback(on_epoch_end=change)

    constant, changed = losses(make), losses(make, stop)
    assert constant[2] < changed[2] - 1e-2
    if BACKEND == "torch":  # on the others model.fit keeps the schedule that it compiled
        assert_as_model_fit(make, callback=stop)


def test_a_metric_with_several_values(capsys):
    def make():
        return net(metrics=[keras.metrics.F1Score()])

    _, got = run(make, fit)
    _, wanted = run(make, keras.Model.fit)
    assert got["f1_score"][0].shape == (10,)
    np.testing.assert_allclose(
        np.array(got["f1_score"]), np.array([np.asarray(f) for f in wanted["f1_score"]]), atol=1e-5
    )
    assert (got["f1_score"][0] != got["f1_score"][2]).any()
    assert capsys.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:The structure of `inputs` doesn't match")  # model.fit says so too
def test_inputs_in_a_named_tuple(capsys):
    pair = collections.namedtuple("pair", "left right")  # noqa: PYI024 - what users have

    def make():
        keras.utils.set_random_seed(3)
        left, right = keras.Input((32,)), keras.Input((32,))
        model = keras.Model([left, right], keras.layers.Dense(10, "softmax")(keras.layers.Concatenate()([left, right])))
        model.compile("sgd", "categorical_crossentropy")
        return model

    x, y = DATA
    fast, plain, got, wanted = both(make, (pair(x[:, :32], x[:, 32:]), y), epochs=2)
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert capsys.readouterr().err == ""


class Saves(keras.callbacks.ModelCheckpoint):
    seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        super().on_train_batch_end(batch, logs)


def test_batch_hooks_in_a_subclass_of_keras_callbacks(tmp_path, capsys):
    own, usual = Saves(tmp_path / "own.keras"), keras.callbacks.ModelCheckpoint(tmp_path / "usual.keras")
    fit(net(), *DATA, batch_size=BATCH, verbose=0, callbacks=[own])
    assert own.seen == 6
    assert capsys.readouterr().err == ""
    fit(net(), *DATA, batch_size=BATCH, verbose=0, callbacks=[usual])
    assert capsys.readouterr().err == ""


class OwnEvaluate(keras.Sequential):
    def evaluate(self, *args, **kwargs):
        return {**super().evaluate(*args, **kwargs), "extra": 1.0}


def test_a_model_with_its_own_evaluate(capsys):
    model = OwnEvaluate(net().layers)
    model.compile("sgd", "categorical_crossentropy")
    history = fit(model, *DATA, batch_size=BATCH, verbose=0, validation_data=DATA).history
    assert history["val_extra"] == [1.0]
    assert "OwnEvaluate has its own evaluate" in capsys.readouterr().err


def test_a_metric_that_the_model_lists_twice(capsys):
    def make():
        metric = keras.metrics.CategoricalAccuracy()
        return net(metrics=[metric, metric])

    fast, plain, got, wanted = both(make, DATA, epochs=2)
    assert len({id(variable) for variable in fast.metrics_variables}) < len(fast.metrics_variables)
    assert_same_state(fast, plain)
    assert_same_history(got, wanted)
    assert capsys.readouterr().err == ""


class Box:
    weight = 0.0  # of the class until a callback sets it


@pytest.mark.parametrize("kind", ["attribute", "dictionary", "variable"])
def test_a_number_that_a_loss_reads_and_a_callback_changes(kind, capsys):
    """model.fit reads it in every step under PyTorch, and when it compiles elsewhere."""
    set_weight = {}

    def make():
        box, table, number = Box(), {"weight": 0.0}, 0.0

        def change(value):
            nonlocal number
            box.weight = table["weight"] = number = value

        def weight():
            return {"attribute": lambda: box.weight, "dictionary": lambda: table["weight"]}.get(kind, lambda: number)()

        model = net(loss=lambda y, p: keras.ops.mean((p - y) ** 2, -1) + weight() * keras.ops.mean(p, -1))
        set_weight[id(model)] = change
        return model

    def anneal(model):
        return keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: set_weight[id(model)](0.5 * epoch))

    constant = losses(make)
    changed = losses(make, anneal)
    assert (constant[2] != pytest.approx(changed[2], abs=1e-4)) == (BACKEND == "torch")
    assert_as_model_fit(make, callback=anneal)
    assert capsys.readouterr().err == ""


def test_a_loss_that_counts_its_calls_goes_to_model_fit(capsys):
    def make():
        calls = [0]

        def loss(y, p):
            calls[0] += 1
            return keras.ops.mean((p - y) ** 2, -1) / calls[0]

        return net(loss=loss)

    assert_as_model_fit(make)
    assert "calls[0] changes in every step" in capsys.readouterr().err
