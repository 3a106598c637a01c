"""Wrong settings are refused before Keras is loaded, by what the installed Keras offers."""

import sys

import pytest

from mnistkit.core.errors import InputError
from mnistkit.core.keras_names import public_names
from mnistkit.digits.settings import Settings


@pytest.fixture
def offered(monkeypatch, tmp_path):
    """A Keras on disk that offers these names and must not be run."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.syspath_prepend(tmp_path)

    def make(**modules):
        (tmp_path / "keras").mkdir()
        (tmp_path / "keras" / "__init__.py").write_text("raise SystemExit")
        for module, text in modules.items():
            (tmp_path / "keras" / module).mkdir()
            (tmp_path / "keras" / module / "__init__.py").write_text(text)

    return make


OPTIMIZERS = (
    "from keras.src.optimizers.x import get as get\nfrom k import (\n    Adam as Adam,\n    RMSprop as RMSprop\n)\n"
)
ACTIVATIONS = "from keras.src.activations import get as get, relu as relu, gelu as gelu\n"


def test_names_are_read_and_not_run(offered):
    offered(optimizers=OPTIMIZERS)
    assert public_names("optimizers") == {"get", "Adam", "RMSprop"}
    assert public_names("activations") == frozenset()


@pytest.mark.parametrize("content", ["(", "\0", ""], ids=repr)
def test_names_that_cannot_be_told(offered, content):
    """Nothing is refused on that ground; Keras itself decides later."""
    offered(optimizers=content)
    assert public_names("optimizers") == frozenset()
    Settings(optimizer="adamm")


def test_without_keras(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    assert public_names("optimizers") == frozenset()


WRONG = {
    "optimizer": (
        {"optimizer": "adamm"},
        r"unknown optimizer 'adamm'; did you mean adam\? \(Keras has adam, rmsprop\)",
    ),
    "no optimizer": ({"optimizer": "get"}, "unknown optimizer 'get'"),
    "a wrapper": ({"optimizer": "MultiOptimizer"}, "'MultiOptimizer' does not train a model by itself"),
    "activation": ({"activation": "geluu"}, r"unknown activation 'geluu'; did you mean gelu\?"),
    "model": ({"model": "resnet"}, "unknown model 'resnet'; use one of cnn, mlp"),
    "a width": ({"hidden": (64, 0)}, "hidden must be at least 1, got 0"),
    "no width": ({"hidden": ()}, "hidden must be at least 1, got nothing"),
    "widths of the cnn": ({"model": "cnn", "hidden": (64, 32)}, "a recipe of its own; leave --hidden out"),
    "activation of the cnn": ({"model": "cnn", "activation": "gelu"}, "leave --activation out"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings(offered, case):
    offered(optimizers=OPTIMIZERS, activations=ACTIVATIONS)
    changes, words = WRONG[case]
    with pytest.raises(InputError, match=words):
        Settings(**changes)


def test_right_settings(offered):
    offered(optimizers=OPTIMIZERS, activations=ACTIVATIONS)
    assert Settings(optimizer="Adam", activation="gelu").optimizer == "Adam"


def test_hidden_layers():
    assert Settings().hidden_layers == (32,)
    assert Settings(hidden=(32,)) == Settings() == Settings(hidden=[32])
    assert Settings(hidden=[128, 64]).hidden == Settings(hidden=(128, 64)).hidden_layers == (128, 64)


def test_as_json():
    assert Settings(hidden=(128, 64)).as_json()["hidden"] == [128, 64]
    assert Settings().as_json()["hidden"] == 32


def test_a_wrong_name_costs_no_keras(python, tmp_path):
    """On the command line, in a process that may not load Keras."""
    (tmp_path / "keras" / "optimizers").mkdir(parents=True)
    (tmp_path / "keras" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "keras" / "optimizers" / "__init__.py").write_text(OPTIMIZERS)
    ran = python("-m", "mnistkit.train", "--optimizer", "adamm", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "mnistkit: unknown optimizer 'adamm'; did you mean adam? (Keras has adam, rmsprop)\n"
