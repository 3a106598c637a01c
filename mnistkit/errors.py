"""The errors of mnistkit under their public name; `mnistkit.core.errors` defines them."""

from mnistkit.core.errors import (
    BackendError,
    ClusterError,
    DataError,
    DeviceError,
    ExportError,
    InputError,
    MissingExtraError,
    MnistkitError,
    ModelFileError,
    NoDigitError,
    OutputError,
    ParityError,
    PictureError,
    UnclearError,
    UnsupportedError,
)

__all__ = [
    "BackendError",
    "ClusterError",
    "DataError",
    "DeviceError",
    "ExportError",
    "InputError",
    "MissingExtraError",
    "MnistkitError",
    "ModelFileError",
    "NoDigitError",
    "OutputError",
    "ParityError",
    "PictureError",
    "UnclearError",
    "UnsupportedError",
]
