"""``python -m mnistkit.train``: the entry point alone. The function is `mnistkit.digits.train.train`."""

from typing import Any, NoReturn

from mnistkit.core.modules import make_callable, moved

_HOME = "mnistkit.digits.train"
_MOVED = ("DEFAULT_OUT", "Settings", "TrainReport", "train")


def _refuse(*_: object, **__: object) -> NoReturn:
    """Say where the function is."""
    raise TypeError(f"mnistkit.train is a command (`python -m mnistkit.train`); use `from {_HOME} import train`")


def __getattr__(name: str) -> Any:
    return moved(__name__, name, dict.fromkeys(_MOVED, _HOME))


make_callable(__name__, _refuse)
