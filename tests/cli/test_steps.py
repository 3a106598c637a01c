"""What long work says of itself."""

import threading
import time

import pytest

from mnistkit.cli import common


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(common, "QUIET_SECONDS", 0.01)


def wait_for(capsys, text):
    """Read stderr until it holds the text."""
    seen = ""
    while text not in seen:
        time.sleep(0.005)
        seen += capsys.readouterr().err
    return seen


@pytest.mark.usefixtures("at_once")
def test_a_step_that_takes_long_is_told_once(capsys):
    with common.Steps() as steps:
        steps.tell("writing the graph")
        assert wait_for(capsys, "\n") == "mnistkit: writing the graph ...\n"
        time.sleep(0.1)
        assert capsys.readouterr().err == ""
        steps.tell("checking")
        assert wait_for(capsys, "\n") == "mnistkit: checking ...\n"


def test_short_work_says_nothing(capsys):
    with common.Steps() as steps:
        steps.tell("writing the graph")
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("at_once")
def test_quiet_says_nothing(capsys):
    with common.Steps(is_quiet=True) as steps:
        steps.tell("writing the graph")
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_no_thread_is_left_when_the_work_fails():
    with pytest.raises(ValueError, match="no"), common.Steps():
        raise ValueError("no")
    assert "mnistkit-progress" not in [thread.name for thread in threading.enumerate()]
