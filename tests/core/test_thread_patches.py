"""Replaced functions act in their own threads, and leave alone what somebody else has put in their place."""

import threading
import types

import pytest

from mnistkit.core.thread_patches import Patch, ThreadPatch, ThreadPatches


class State:
    suspended = False


@pytest.fixture
def module():
    return types.SimpleNamespace(cbrt=abs)


def replacing(module):
    return ThreadPatch(lambda: (module, "cbrt"))


def counting(module, calls):
    def action(_state, original, args, _kwargs):
        calls.append(args)
        return original(*args)

    return ThreadPatches(), lambda: [Patch(module, "cbrt", action)]


def test_a_patch_counts_in_its_own_thread_alone(module):
    patch = replacing(module)
    inside, outside, finish = threading.Event(), [], threading.Event()

    def other():
        inside.wait()
        outside.append(module.cbrt(-8))
        with patch(lambda _: "other"):
            outside.append(module.cbrt(-8))
            finish.wait()
            outside.append(module.cbrt(-8))

    thread = threading.Thread(target=other)
    thread.start()
    with patch(lambda _: "mine") as original:
        inside.set()
        assert module.cbrt(-8) == "mine"
        assert original is abs
        with patch(lambda _: "nested"):
            assert module.cbrt(-8) == "nested"
        assert module.cbrt(-8) == "mine"
    assert module.cbrt(-8) == 8
    finish.set()
    thread.join()
    assert outside == [8, "other", "other"]
    assert module.cbrt is abs


def test_a_function_that_somebody_wrapped_meanwhile_is_left_alone(module):
    patch = replacing(module)
    with patch(lambda _: "mine"):
        inner = module.cbrt
        module.cbrt = lambda value: ("theirs", inner(value))
        assert module.cbrt(-8) == ("theirs", "mine")
    assert module.cbrt(-8) == ("theirs", 8)
    with patch(lambda _: "again"):
        assert module.cbrt(-8) == "again"
    assert module.cbrt(-8) == ("theirs", 8)


def test_what_was_wrapped_does_not_act_twice_in_a_later_block(module):
    calls = []
    patches, table = counting(module, calls)
    with patches.act(State(), table):
        inner = module.cbrt
        module.cbrt = lambda value: inner(value) + 0
        assert module.cbrt(-8) == 8
    assert calls == [(-8,)]
    with patches.act(State(), table):
        assert module.cbrt(-9) == 9
    assert calls == [(-8,), (-9,)]


def test_a_suspended_block_calls_the_original(module):
    calls = []
    patches, table = counting(module, calls)
    state = State()
    with patches.act(state, table):
        state.suspended = True
        assert module.cbrt(-8) == 8
    assert calls == []


def test_a_table_that_fails_leaves_nothing_behind(module):
    def table():
        yield Patch(module, "cbrt", lambda *_: None)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ThreadPatches().act(State(), table):
        pass
    assert module.cbrt is abs
