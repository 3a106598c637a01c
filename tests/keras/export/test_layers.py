"""Every class of ``keras.layers``, and the twin of each check."""

from importlib.util import find_spec

import keras
import pytest
from cases_layers import CASES, Case, chain, missing
from cases_models import ACTIVATIONS, SMALL_APPLICATIONS, USERS
from comparing import agree, check_case, redraw
from keras import layers as L
from keras_versions import LAYERS_SINCE, lacks_layer

from mnistkit.core.errors import UnsupportedError
from mnistkit.export.native import convert, find_unsupported

# Keras' own remarks while it builds the cases
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not support masking.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*recurrent_dropout.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:The structure of `inputs`.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:`fft_length`.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:keras"),
]


def on_this_backend(cases):
    return [case for case in cases if not case.only or keras.backend.backend() in case.only]


# Keras itself looks these up with TensorFlow, whatever the backend; the tensorflow environment runs them.
NEED_TENSORFLOW = {"IntegerLookup", "StringLookup", "Hashing", "HashedCrossing"}
needs_tensorflow = pytest.mark.skipif(find_spec("tensorflow") is None, reason="Keras needs TensorFlow for this layer")


def parameters(cases):
    chosen = [
        pytest.param(case, id=case.id, marks=[needs_tensorflow] if case.subject in NEED_TENSORFLOW else [])
        for case in on_this_backend(cases)
    ]
    return pytest.mark.parametrize("case", chosen)


def test_every_class_has_a_case_or_a_reason():
    assert missing() == []


def test_the_layers_that_this_keras_lacks_are_known():
    assert {name for name in LAYERS_SINCE if not hasattr(L, name)} == {
        name for name in LAYERS_SINCE if lacks_layer(name)
    }


@parameters(CASES)
def test_layer(case):
    check_case(case)


@parameters(ACTIVATIONS)
def test_activation(case):
    check_case(case)


@parameters(USERS)
def test_users_model(case):
    check_case(case)


@parameters(SMALL_APPLICATIONS)
def test_application(case):
    check_case(case)


def test_a_case_that_must_be_refused_fails_when_it_is_written():
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_case(Case("Dense", "wrongly refused", chain((3,), lambda: L.Dense(2)), refused="no reason"))


def test_a_mask_that_is_ignored_is_noticed():
    """The twin of the mask cases: the same weights without a mask give other answers."""
    with_mask = redraw(chain((None,), lambda: L.Embedding(5, 3, mask_zero=True), lambda: L.LSTM(4), dtype="int32")())
    without = redraw(chain((None,), lambda: L.Embedding(5, 3), lambda: L.LSTM(4), dtype="int32")())
    written = convert(without)
    with pytest.raises(AssertionError, match="largest difference"):
        agree(with_mask, high=3, proto=written.proto)


@needs_tensorflow
def test_the_refusal_says_where_and_what_to_do():
    x = keras.Input((2,), dtype="int64")
    model = keras.Model(x, L.Hashing(3, name="inner")(x))
    assert [problem.path for problem in find_unsupported(model)] == ["inner"]
    with pytest.raises(UnsupportedError, match=r"inner .Hashing.: it hashes text with FarmHash"):
        convert(model)
