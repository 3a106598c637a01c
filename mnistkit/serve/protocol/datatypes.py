"""The protocol's datatypes and NumPy's, and casts between them that never change a value in silence."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.serve.http import bad_request, truncate

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Names from the Open Inference Protocol v2, "Tensor Data Types"; BF16 from Triton's extension, as raw bytes only.
NUMPY: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
NAMES: dict[str, str] = {dtype.name: name for name, dtype in NUMPY.items()}
OF_ARRAY: dict[np.dtype[Any], str] = {dtype: name for name, dtype in NUMPY.items()}
"""The same by the dtype itself: asking a dtype for its name takes longer than running a small model's layer."""
PLAIN: dict[str, np.dtype[Any]] = {name: dtype for name, dtype in NUMPY.items() if name != "BOOL"}
"""Those of which every pattern of bits is a value."""
BF16_BYTES = 2
_EXACT = 2**53  # from there on a float64 does not tell whole numbers apart
_STRUCT = 65536  # numbers; longer lists are not worth a copy of themselves as arguments


def datatype_name(dtype: str) -> str:
    """The protocol's name for an element type as `TensorInfo.dtype` gives it."""
    return NAMES.get(dtype, "BYTES" if "string" in dtype else dtype.upper())


def check_datatype(datatype: object, field: str) -> str:
    """A datatype that tensors may have.

    Raises:
        HTTPError: 400, the datatype is unknown or not numeric.
    """
    if isinstance(datatype, str) and (datatype in NUMPY or datatype == "BF16"):
        return datatype
    raise bad_request(f"{field}: expected one of {', '.join(NUMPY)}, got {truncate(datatype)}")


def from_bytes(content: memoryview, datatype: str, field: str) -> NDArray[Any]:
    """Little-endian raw bytes as a flat array.

    Raises:
        HTTPError: 400, not a whole number of elements, or a BOOL byte that is neither 0 nor 1.
    """
    size = BF16_BYTES if datatype == "BF16" else NUMPY[datatype].itemsize
    if len(content) % size:
        raise bad_request(f"{field}: expected a multiple of {size} bytes for {datatype}, got {len(content)}")
    if datatype == "BF16":
        return (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    if datatype == "BOOL":
        plain = np.frombuffer(content, np.uint8)
        if plain.size and plain.max() > 1:
            raise bad_request(f"{field}: expected bytes 0 or 1 for BOOL, got {plain.max()}")
        return plain.view(np.bool_)
    return np.frombuffer(content, NUMPY[datatype])


def from_list(data: object, datatype: str, field: str) -> NDArray[Any]:
    """A list of numbers, flat or nested, or an array of them, as an array of the datatype.

    Raises:
        HTTPError: 400, not a list, ragged, not numbers, or out of the datatype's range.
    """
    if isinstance(data, np.ndarray):
        return exact(data, NUMPY[datatype], field)
    if not isinstance(data, list):
        raise bad_request(f"{field}: expected a list of numbers, got {type(data).__name__}")
    if not data:
        return np.zeros(0, NUMPY[datatype])
    if datatype == "FP32" and len(data) <= _STRUCT:
        # The common case four times faster; struct takes flat numbers alone, as NumPy would not (it reads "1.5"), and
        # none that float32 has no room for.
        try:
            return np.frombuffer(struct.pack(f"<{len(data)}f", *data), "<f4")
        except (struct.error, OverflowError):
            pass  # nested, or wrong: the way below tells which
    try:
        numbers = np.array(data)
    except (ValueError, OverflowError, RuntimeError):
        raise bad_request(f"{field}: expected a flat list, or nested lists of equal lengths, got ragged ones") from None
    if numbers.dtype.kind not in "buif":
        raise bad_request(f"{field}: expected numbers, got other values among them")
    if numbers.dtype.kind == "f" and NUMPY[datatype].kind in "iu" and np.abs(numbers).max(initial=0) >= _EXACT:
        raise bad_request(f"{field}: expected whole numbers beyond 2**53 without fractions beside them, got both")
    return exact(numbers, NUMPY[datatype], field)


def exact(values: NDArray[Any], dtype: np.dtype[Any], field: str) -> NDArray[Any]:
    """Cast, allowing rounding of fractions alone: no wrap-around, no infinity from a number, no fraction cut off.

    Raises:
        HTTPError: 400, a value does not fit.
    """
    if values.dtype == dtype or values.size == 0:
        return values.astype(dtype, copy=False)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            made: NDArray[Any] = values.astype(dtype)
        if np.isfinite(made).all():
            return made
        if values.dtype.itemsize > dtype.itemsize and not np.array_equal(np.isfinite(values), np.isfinite(made)):
            raise bad_request(
                f"{field}: expected numbers within {dtype.name}, got one as large as {np.nanmax(np.abs(values))}"
            )
        return made
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (np.trunc(values) == values).all()):
        raise bad_request(f"{field}: expected whole numbers for {dtype.name}, got fractions")
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    least, most = int(values.min()), int(values.max())
    if least < low or most > high:
        raise bad_request(f"{field}: expected values in {low}..{high} for {dtype.name}, got {least} to {most}")
    return values.astype(dtype)
