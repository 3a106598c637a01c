"""Every error a user can meet, each with the cure in its message.

    MnistkitError
    ├── BackendError        a Keras backend cannot be used, or another one is already loaded
    ├── MissingExtraError   a package is not installed (also an ImportError)
    ├── DataError           a data set cannot be read
    ├── PictureError        a picture cannot be read
    │   ├── NoDigitError    the picture is fine but no digit is found on it
    │   └── UnclearError    it was read, but less surely than asked for
    ├── InputError          an argument has the wrong type, shape or range (also a ValueError)
    ├── ModelFileError      a .keras or .onnx file cannot be used
    ├── ClusterError        a Ray cluster cannot be reached, goes away, or its workers fail
    ├── DeviceError         an execution provider was asked for by name and is not there
    ├── DistributedError    processes that train together cannot meet, disagree, or one of them went away
    │   └── LostProcessError    one of them went away
    ├── ExportError         a model cannot be exported
    │   ├── UnsupportedError    layers or operations without a translation, all of them listed
    │   └── ParityError         two sets of answers differ
    └── OutputError         a result cannot be written

The command line prints the message on one line and exits with 1; a traceback means a bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_GAP = " ... "


class MnistkitError(Exception):
    """Base of all errors raised on purpose by mnistkit."""


class BackendError(MnistkitError):
    """A Keras backend is unknown, not installed, broken, or not the one already loaded."""


class MissingExtraError(MnistkitError, ImportError):
    """A package from one of mnistkit's extras is needed and not installed."""


class DataError(MnistkitError):
    """A data set is missing, damaged, or not what it claims to be."""


class PictureError(MnistkitError):
    """A picture is missing, damaged, too large, or not a picture."""


class NoDigitError(PictureError):
    """A picture can be read, and nothing is drawn on it, or nothing that looks like a digit."""


class UnclearError(PictureError):
    """A picture was read, but less surely than asked for; the message names what it may be."""


class InputError(MnistkitError, ValueError):
    """An argument has the wrong type, shape or range."""


class ModelFileError(MnistkitError):
    """A ``.keras`` or ``.onnx`` file is missing, damaged, or not usable here."""


class ClusterError(MnistkitError):
    """A Ray cluster cannot be reached, goes away, or its workers fail."""


class DeviceError(MnistkitError):
    """A device or execution provider was asked for by name and cannot be had."""


class DistributedError(MnistkitError):
    """Processes that are to train together cannot meet, or disagree."""


class LostProcessError(DistributedError):
    """A process that trains with this one went away."""


class ExportError(MnistkitError):
    """A model cannot be exported."""


class UnsupportedError(ExportError):
    """A model holds layers or operations that the chosen exporter cannot translate."""


class ParityError(ExportError):
    """Two sets of answers that must agree do not."""


class OutputError(MnistkitError):
    """A result cannot be written: the folder is missing, read-only or full."""


def one_line(error: BaseException, *, limit: int) -> str:
    """What an exception says, on one line of at most ``limit`` characters; its class where it says nothing.

    Of a longer text the beginning and the end stay: what was done, and why it failed, which many libraries say last.
    """
    text = " ".join(str(error).split())
    if len(text) > limit:
        half = (limit - len(_GAP)) // 2
        text = text[:half] + _GAP + text[-half:]
    return text or type(error).__name__


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: ``"; did you mean adam?"``, or nothing where none is close."""
    import difflib  # needed only when something is wrong

    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
