"""Several threads that train at the same time, with the trainer and with model.fit, each as if it were alone."""

from __future__ import annotations

import gc
import threading
import time

import keras
import numpy as np
import pytest
from training_models import BATCH, SEED, assert_same_state, cnn, pictures, plain_fit, without_copy_keyword

from mnistkit.training import fit, keras_hooks

pytestmark = without_copy_keyword
DATA = pictures(BATCH * 6, channels=True)
EPOCHS = 2
TOLERANCE = 1e-6


def fast(model):
    fit(model, *DATA, batch_size=BATCH, epochs=EPOCHS, seed=SEED, verbose=0)


def plain(model):
    plain_fit(model, *DATA, epochs=EPOCHS)


def at_once(jobs):
    """Run functions in threads that begin together; raise what one of them raises."""
    barrier, errors = threading.Barrier(len(jobs)), []

    def run(job):
        try:
            barrier.wait()
            job()
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def patched_functions():
    """The functions that the trainer replaces while it traces."""
    hooks = [keras_hooks._COND, keras_hooks._SEED_GENERATOR] if keras.backend.backend() == "torch" else []
    return [*(hook.get() for hook in hooks), keras.layers.BatchNormalization.call]


def test_threads_train_as_if_alone(capsys):
    before = patched_functions()
    alone = [cnn("adam"), cnn("sgd"), cnn("rmsprop"), cnn("plain-sgd")]
    for model in alone[:3]:
        fast(model)
    plain(alone[3])
    assert patched_functions() == before

    together = [cnn("adam"), cnn("sgd"), cnn("rmsprop"), cnn("plain-sgd")]
    at_once([*(lambda model=model: fast(model) for model in together[:3]), lambda: plain(together[3])])
    assert capsys.readouterr().err == ""
    assert patched_functions() == before
    for one, two in zip(together, alone, strict=True):
        assert_same_state(one, two, tolerance=TOLERANCE)
    with pytest.raises(AssertionError):
        assert_same_state(together[0], alone[1], tolerance=TOLERANCE)

    # dropout still draws: its seed generators have moved once a step, and two calls differ
    x = keras.ops.ones((4, 32))
    dropout = keras.layers.Dropout(0.5, seed=1)
    one, two = (keras.ops.convert_to_numpy(dropout(x, training=True)) for _ in range(2))
    assert (one != two).any()
    moved = [int(np.asarray(keras.ops.convert_to_numpy(v.value))[1]) for v in together[3].non_trainable_variables[-2:]]
    assert moved == [EPOCHS * 6, EPOCHS * 6]


def tuples_while(job):
    """Build tuples in another thread, slowly, while the job runs; raise what that thread raises."""
    done = threading.Event()

    def build():
        while not done.is_set():
            tuple(time.sleep(0.0005) for _ in range(50))

    def run():
        try:
            job()
        finally:
            done.set()

    at_once([build, run])


def hold_all_objects():
    for _ in range(100):
        held = gc.get_objects()
        time.sleep(0.02)
        del held


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="its programs hold variables, whoever reads them")
def test_tuples_that_another_thread_builds_meanwhile(monkeypatch, capsys):
    # Python refuses to go on with a tuple that somebody else holds by now
    with pytest.raises(SystemError):
        tuples_while(hold_all_objects)
    monkeypatch.setattr(gc, "get_objects", lambda: pytest.fail("other threads build tuples"))
    tuples_while(lambda: fast(cnn()))
    assert capsys.readouterr().err == ""


def test_an_error_in_a_thread_is_seen():
    with pytest.raises(ZeroDivisionError):
        at_once([lambda: None, lambda: 1 / 0])
