"""Training: the tutorial's steps and defaults, the same weights for the same seed, and never half a file."""

import dataclasses
import io
import json

import numpy as np
import pytest

from mnistkit.core.contract import weights_sha256
from mnistkit.core.errors import BackendError, InputError, ModelFileError, OutputError
from mnistkit.core.keras_files import load_model
from mnistkit.digits import train_cnn
from mnistkit.digits.model import build_model, seed_weights
from mnistkit.digits.train import Settings, train

import keras  # isort: skip  # after the backend is chosen

ONE = Settings(epochs=1)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written(trained):
    assert names(trained.path.parent) == ["mnist.keras", "mnist.train.json"]


def test_provenance(trained, here, small):
    found = json.loads(trained.path.with_suffix(".train.json").read_text(encoding="utf-8"))
    assert found == trained.provenance
    assert found["settings"] == {
        "model": "mlp",
        "epochs": 2,
        "batch_size": 32,
        "optimizer": "rmsprop",
        "learning_rate": 0.001,
        "rho": None,
        "epsilon": None,
        "decay": 0.0,
        "hidden": 32,
        "activation": "relu",
        "seed": 1337,
        "validation_split": 0.0,
    }
    assert found["backend"] == dataclasses.asdict(here)
    assert found["data"]["sha256"] == small.sha256
    assert len(found["history"]["loss"]) == len(found["history"]["accuracy"]) == 2
    assert found["weights_sha256"] == weights_sha256(trained.model.get_weights())
    assert 0.5 < found["test"]["accuracy"] <= 1


def test_what_a_report_looks_like(trained):
    test = trained.provenance["test"]
    told = f"test loss {test['loss']:.4f}, test accuracy {test['accuracy']:.4f}"
    assert repr(trained) == f"TrainReport({str(trained.path)!r}, {told})"


def test_it_learns(trained):
    losses = trained.provenance["history"]["loss"]
    assert losses[1] < losses[0]


def test_the_file_holds_the_tested_model(trained, small):
    model = load_model(trained.path)
    x = small.x_test.reshape(-1, 784).astype(np.float32) / 255
    found = np.asarray(keras.ops.convert_to_numpy(model(x))).argmax(axis=1)
    assert np.mean(found == small.y_test) == pytest.approx(trained.provenance["test"]["accuracy"], abs=1e-6)


def test_the_tutorials_optimizer(trained):
    optimizer = trained.model.optimizer
    assert type(optimizer).__name__.lower() == "rmsprop"
    assert (optimizer.rho, optimizer.epsilon) == (0.9, 1e-8)
    assert float(optimizer.learning_rate) == pytest.approx(0.001)


def test_same_seed_same_bits(trained, small, tmp_path):
    again = train(Settings(), out=tmp_path / "mnist.keras", data=small)
    assert again.provenance["weights_sha256"] == trained.provenance["weights_sha256"]
    assert again.provenance["history"] == trained.provenance["history"]


def test_another_seed_other_bits(small, tmp_path):
    first = train(ONE, out=tmp_path / "a.keras", data=small)
    other = train(dataclasses.replace(ONE, seed=1), out=tmp_path / "b.keras", data=small)
    assert first.provenance["weights_sha256"] != other.provenance["weights_sha256"]


def test_what_it_says(small, tmp_path, here):
    log = io.StringIO()
    train(ONE, out=tmp_path / "mnist.keras", data=small, log=log)
    said = log.getvalue()
    for words in (
        f"backend {here.name} {here.version}, Keras {here.keras_version}, device {here.device}",
        "images [1500, 28, 28] uint8 -> [1500, 784] float32 in [0, 1]",
        "labels [1500] -> one-hot [1500, 10]",
        "25,450",
        "loss",
        "accuracy",
    ):
        assert words in said


def test_the_old_name_of_the_log(small, tmp_path):
    log = io.StringIO()
    with pytest.warns(DeprecationWarning, match=r"train\(talk=...\) is now train\(log=...\)"):
        train(ONE, out=tmp_path / "mnist.keras", data=small, talk=log)
    assert "device" in log.getvalue()


def test_without_a_log_nothing_is_printed(small, tmp_path, capsys):
    train(ONE, out=tmp_path / "mnist.keras", data=small)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_validation_split(small, tmp_path):
    report = train(dataclasses.replace(ONE, validation_split=0.2), out=tmp_path / "mnist.keras", data=small)
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} == set(report.provenance["history"])


def test_labels_travel(small, tmp_path):
    clothes = tuple(f"piece {n}" for n in range(10))
    report = train(ONE, out=tmp_path / "mnist.keras", data=dataclasses.replace(small, labels=clothes))
    assert report.provenance["data"]["labels"] == list(clothes)


@pytest.fixture
def cnn_trained(monkeypatch):
    """The cnn's training without its steps; what it was asked for."""
    asked = []

    def fit_augmented(model, *_, has_learned, **__):
        asked.append(has_learned)
        model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
        return 1.0

    monkeypatch.setattr(train_cnn, "fit_augmented", fit_augmented)
    return asked


def test_the_cnn_goes_on_from_a_trained_one(small, tmp_path, cnn_trained):
    trained = build_model("cnn", seed=9)
    trained.save(tmp_path / "before.keras")
    settings = Settings(model="cnn", epochs=1, start=str(tmp_path / "before.keras"))
    report = train(settings, out=tmp_path / "cnn.keras", data=small)
    assert all(map(np.array_equal, report.model.get_weights(), trained.get_weights()))
    assert report.provenance["start"]["file"] == "before.keras"
    assert report.provenance["start"]["weights_sha256"] == report.provenance["weights_sha256"]
    assert report.provenance["settings"]["peak_learning_rate"] == pytest.approx(9e-4)
    assert "start" not in report.provenance["settings"]  # which would tell where the file lay
    alone = train(dataclasses.replace(settings, start=None), out=tmp_path / "cnn.keras", data=small)
    assert "start" not in alone.provenance
    assert alone.provenance["settings"]["peak_learning_rate"] == pytest.approx(3e-3)
    assert not np.array_equal(alone.model.get_weights()[0], trained.get_weights()[0])
    assert cnn_trained == [True, False]


def test_the_cnn_does_not_go_on_from_another_model(small, tmp_path):
    build_model("mlp").save(tmp_path / "mlp.keras")
    with pytest.raises(ModelFileError, match=r"mlp\.keras: not a cnn as this version builds it; leave --start out"):
        train(Settings(model="cnn", start=str(tmp_path / "mlp.keras")), out=tmp_path / "cnn.keras", data=small)
    assert names(tmp_path) == ["mlp.keras"]


WRONG = {
    "epochs": ({"epochs": 0}, "epochs must be at least 1, got 0"),
    "batch": ({"batch_size": 0}, "batch size must be at least 1"),
    "hidden": ({"hidden": 0}, "hidden must be at least 1"),
    "seed": ({"seed": -1}, "seed must not be negative"),
    "split": ({"validation_split": 1.0}, r"validation split must lie in \[0, 1\)"),
    "split NaN": ({"validation_split": float("nan")}, "validation split must lie"),
    "model": ({"model": "mpl"}, "unknown model 'mpl'; use one of .*mlp"),
    "optimizer": ({"optimizer": "rmsprob"}, "unknown optimizer 'rmsprob'; did you mean rmsprop?"),
    "rate": ({"learning_rate": 0.0}, "learning rate must be above 0"),
    "rate NaN": ({"learning_rate": float("nan")}, "learning rate must be above 0"),
    "decay": ({"decay": -0.1}, "decay must be at least 0"),
    "rho for adam": ({"optimizer": "adam", "rho": 0.5}, "the optimizer adam has no rho; leave --rho out"),
    "optimizer for the cnn": (
        {"model": "cnn", "optimizer": "sgd"},
        "a recipe of its own; leave --optimizer out",
    ),
    "start of the mlp": ({"start": "a.keras"}, "--start is for the models cnn and reader; leave it out"),
    "split for the cnn": ({"model": "cnn", "validation_split": 0.1}, "leave --validation-split out"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings(small, tmp_path, case):
    changes, words = WRONG[case]
    with pytest.raises(InputError, match=words):
        train(Settings(**changes), out=tmp_path / "mnist.keras", data=small)
    assert names(tmp_path) == []


def test_the_name_must_end_in_keras(small, tmp_path):
    with pytest.raises(InputError, match=r"needs a name that ends in \.keras"):
        train(ONE, out=tmp_path / "mnist.h5", data=small)


def test_a_folder_that_cannot_be_is_noticed_before_training(tmp_path):
    (tmp_path / "exports").write_text("")
    with pytest.raises(OutputError, match="choose another place with --out"):
        train(out=tmp_path / "exports" / "mnist.keras")


def test_another_backend_than_the_loaded_one(here, tmp_path, small):
    other = "torch" if here.name != "torch" else "jax"
    with pytest.raises(
        BackendError, match=f"already loaded with {here.name}, so {other} .* cannot be used .*KERAS_BACKEND"
    ):
        train(ONE, out=tmp_path / "mnist.keras", data=small, backend=other)


# --- models ---------------------------------------------------------------------------------------------------------


def test_the_tutorials_model():
    model = build_model()
    assert model.input_shape == (None, 784)
    assert model.output_shape == (None, 10)
    assert [layer.__class__.__name__ for layer in model.layers] == ["Dense", "Dense"]
    assert model.count_params() == 25450


def test_first_weights_come_from_numpy_and_are_equal_everywhere():
    """Known digests: whichever backend runs this, the same."""
    first = build_model(seed=1337).get_weights()
    limit = (6 / (784 + 32)) ** 0.5
    drawn = np.random.default_rng(1337).uniform(-limit, limit, (784, 32)).astype(np.float32)
    np.testing.assert_array_equal(first[0], drawn)
    assert not first[1].any()
    assert not first[3].any()


def test_several_hidden_layers(small, tmp_path):
    report = train(Settings(epochs=1, hidden=(24, 12), activation="gelu"), out=tmp_path / "m.keras", data=small)
    layers = load_model(report.path).layers
    assert [layer.units for layer in layers] == [24, 12, 10]
    assert [layer.name for layer in layers] == ["hidden", "hidden_2", "probabilities"]
    assert [layer.activation.__name__ for layer in layers] == ["gelu", "gelu", "softmax"]
    kept = json.loads(report.path.with_suffix(".train.json").read_text(encoding="utf-8"))["settings"]
    assert (kept["hidden"], kept["activation"]) == ([24, 12], "gelu")


def test_one_hidden_layer_in_a_tuple_is_the_number():
    for first, second in zip(
        build_model(hidden=32).get_weights(), build_model(hidden=(32,)).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": (8, 0)}, "hidden must be at least 1, got 8, 0"),
        ({"hidden": ()}, "hidden must be at least 1, got nothing"),
        ({"activation": "geluu"}, "unknown activation 'geluu'"),
        ({"activation": "threshold"}, "the activation threshold needs threshold and default_value"),
    ],
    ids=str,
)
def test_models_that_cannot_be_built(options, words):
    with pytest.raises(InputError, match=words):
        build_model(**options)


def test_seed_weights_leaves_vectors_alone():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    before = [w.copy() for w in model.get_weights()]
    seed_weights(model, 3)
    after = model.get_weights()
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old, new) == (old.ndim < 2)


# --- optimizers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Adam", "sgd", "AdamW", "nadam", "lion"])
def test_any_keras_optimizer(name):
    from mnistkit.digits.optimizers import make_optimizer

    made = make_optimizer(name, learning_rate=0.01)
    assert type(made).__name__.lower() == name.lower()
    assert float(made.learning_rate) == pytest.approx(0.01)


def test_decay_is_that_of_old_keras():
    from mnistkit.digits.optimizers import make_optimizer

    schedule = make_optimizer("rmsprop", learning_rate=0.1, decay=0.5)._learning_rate
    assert [float(schedule(step)) for step in (0, 1, 2, 10)] == pytest.approx([0.1, 0.1 / 1.5, 0.1 / 2, 0.1 / 6])


def test_given_hyper_parameters_arrive():
    from mnistkit.digits.optimizers import make_optimizer

    made = make_optimizer("rmsprop", learning_rate=0.1, rho=0.5, epsilon=1e-3)
    assert (made.rho, made.epsilon) == (0.5, 1e-3)
    assert make_optimizer("adam", learning_rate=0.1).epsilon == keras.optimizers.Adam().epsilon


def test_wrappers_and_the_abstract_base_are_not_offered():
    from mnistkit.digits.optimizers import make_optimizer, optimizer_classes
    from mnistkit.digits.settings import _NO_OPTIMIZERS

    known = optimizer_classes()
    assert "rmsprop" in known
    assert not _NO_OPTIMIZERS & set(known)
    with pytest.raises(InputError, match="unknown optimizer 'LossScaleOptimizer': it does not train a model by itself"):
        make_optimizer("LossScaleOptimizer", learning_rate=0.1)
    with pytest.raises(InputError, match=r"'adamm': it is not one of Keras'; did you mean adam\?"):
        make_optimizer("adamm", learning_rate=0.1)


def test_the_names_known_before_keras_is_loaded_are_those_it_has():
    """What the settings refuse early is what the loaded Keras would refuse, and nothing else."""
    from mnistkit.core.keras_names import public_names
    from mnistkit.digits.optimizers import optimizer_classes
    from mnistkit.digits.settings import _NO_ACTIVATIONS, _NO_OPTIMIZERS

    found = {name.lower() for name in public_names("optimizers") if name[0].isupper()}
    assert found - _NO_OPTIMIZERS == set(optimizer_classes())
    for name in public_names("activations") - _NO_ACTIVATIONS:
        assert callable(keras.activations.get(name))
