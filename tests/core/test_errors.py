"""The exception tree is what its docstring draws."""

import inspect
import re

import pytest

from mnistkit.core import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]


def _drawn():
    """Child and parent of every line of the drawing."""
    parents, pairs = {}, {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^(?P<lead>[ │├└─]*)(?P<name>\w+Error)\b", line):
            depth = len(match["lead"])
            parents[depth] = match["name"]
            above = [name for level, name in parents.items() if level < depth]
            pairs[match["name"]] = above[-1] if above else None
            parents = {level: name for level, name in parents.items() if level <= depth}
    return pairs


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_the_drawing_is_the_truth(cls):
    parent = _drawn()[cls.__name__]
    assert cls.__bases__[0].__name__ == (parent or "Exception")
    assert cls.__doc__


def test_nothing_is_drawn_that_is_not_there():
    assert set(_drawn()) == {cls.__name__ for cls in CLASSES}


def test_errors_are_also_what_python_programmers_catch():
    assert issubclass(errors.MissingExtraError, ImportError)
    assert issubclass(errors.InputError, ValueError)
