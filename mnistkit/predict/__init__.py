"""``python -m mnistkit.predict``: the entry point alone. In Python, use `mnistkit.Classifier`."""

from typing import Any, NoReturn

from mnistkit.core.modules import make_callable, moved

_MOVED = ("NumberReading", "Reading", "read_files", "read_numbers")


def _refuse(*_: object, **__: object) -> NoReturn:
    """Say what to use."""
    raise TypeError(
        "mnistkit.predict is a command (`python -m mnistkit.predict`); "
        "use `mnistkit.Classifier().predict(mnistkit.read_picture(path))`"
    )


def __getattr__(name: str) -> Any:
    return moved(__name__, name, dict.fromkeys(_MOVED, "mnistkit.digits.readings"))


make_callable(__name__, _refuse)
