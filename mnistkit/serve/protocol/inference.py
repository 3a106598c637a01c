"""Inference requests of the Open Inference Protocol v2, and the answers to them.

Written after the protocol's "Inference" section and Triton's binary tensor data extension: a JSON header whose length
is in ``Inference-Header-Content-Length``, raw little-endian tensors behind it in the order of the header; length 0
means that the body is one raw tensor for a model with one input.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from mnistkit.serve.http import BINARY, JSON, HTTPError, Request, Response, bad_request, truncate
from mnistkit.serve.protocol import flat_json
from mnistkit.serve.protocol.datatypes import (
    BF16_BYTES,
    NUMPY,
    OF_ARRAY,
    PLAIN,
    check_datatype,
    datatype_name,
    from_bytes,
    from_list,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.serve.settings import Settings

LENGTH_HEADER = "inference-header-content-length"
_LONG_HEADER = 4096  # bytes; a longer one is not remembered
_LAYOUTS = 256  # headers remembered for each model
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_FEW = 16  # brackets
_MAX_BRACKETS = 100_000  # each becomes a Python object
_MAX_DIGITS = 12  # of a length
_MAX_DIMENSIONS = 16  # NumPy's own bound is 64; no layout here comes near


VERSION = "1"
"""Of a model that is given without one."""


class Served(Protocol):
    """What the protocol needs of a model that is served (`mnistkit.serve.models.ServedModel`)."""

    name: str
    version: str
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]
    batched: bool
    layouts: dict[bytes, Layout]

    def prepare(self, name: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Bring an input to the type of the model, or refuse it."""


@dataclass(slots=True)
class Inference:
    """A request that has been checked.

    Attributes:
        feeds: One array for every input of the model.
        rows: Size of the first axis.
        outputs: Names to answer with, and whether each is wanted in binary form.
        id: The client's own name for the request.
    """

    feeds: dict[str, NDArray[Any]]
    rows: int
    outputs: dict[str, bool]
    id: str | None = None


class Layout:
    """What a binary request's header says; the same bytes say the same of the next request, and most clients send them.

    Args:
        entries: ``inputs`` of a header that has been checked, all of them binary.
        first: What was read by it.
    """

    __slots__ = ("_outputs", "_rows", "_tensors")

    def __init__(self, entries: list[dict[str, Any]], first: Inference) -> None:
        self._outputs, self._rows = first.outputs, first.rows
        self._tensors = [
            (f"inputs[{number}]", entry["name"], entry["datatype"], PLAIN.get(entry["datatype"]), tuple(entry["shape"]),
             entry["parameters"]["binary_data_size"])
            for number, entry in enumerate(entries)
        ]  # fmt: skip

    def read(self, body: bytes, start: int, model: Served) -> Inference:
        """The request whose tensors begin at ``start``.

        Raises:
            HTTPError: 400, other than the announced bytes, or values that do not fit.
        """
        feeds: dict[str, NDArray[Any]] = {}
        for field, name, datatype, plain, shape, size in self._tensors:
            if len(body) - start < size:
                raise bad_request(_too_short(field, len(body) - start, size))
            if plain is not None:
                array = np.frombuffer(body, plain, size // plain.itemsize, start)
            else:
                array = from_bytes(memoryview(body)[start : start + size], datatype, field)
            feeds[name] = model.prepare(name, array, shape)
            start += size
        if start != len(body):
            raise bad_request(
                f"body: expected the declared tensors and no more, got {len(body) - start} bytes behind them"
            )
        return Inference(feeds, self._rows, self._outputs)


def parse(request: Request, model: Served, settings: Settings) -> Inference:
    """Read the body of an infer request.

    Raises:
        HTTPError: 400, with the field, what was expected and what was sent.
    """
    length = request.headers.get(LENGTH_HEADER)
    if length is None:
        document = parse_json(request.body, settings, flat=True)
        return _from_document(document, memoryview(b""), model, settings)
    size = _number(length)
    if size is None or size > len(request.body):
        raise bad_request(
            f"header Inference-Header-Content-Length: expected a number up to the body's {len(request.body)} bytes, "
            f"got {truncate(length)}"
        )
    if size == 0:
        return _from_raw(request.body, model, settings)
    if size > settings.max_json:
        raise HTTPError(413, f"body: expected at most {settings.max_json} bytes of JSON, got {size}")
    header = request.body[:size]
    layout = model.layouts.get(header)
    if layout is not None:
        return layout.read(request.body, size, model)
    document = parse_json(header, settings)
    inference = _from_document(document, memoryview(request.body)[size:], model, settings)
    if inference.id is None and size <= _LONG_HEADER and all("data" not in entry for entry in document["inputs"]):
        if len(model.layouts) >= _LAYOUTS:
            model.layouts.clear()
        model.layouts[header] = Layout(document["inputs"], inference)
    return inference


def render(inference: Inference, outputs: dict[str, NDArray[Any]], model: Served) -> Response:
    """The answer, as JSON or with binary tensors behind it."""
    entries, raw = [], []
    for name, binary in inference.outputs.items():
        array = outputs[name]
        if binary:
            raw.append(array.tobytes())
            entries.append(_described(name, array.dtype, array.shape, array.nbytes))
        else:
            values = array.ravel() if array.dtype != np.float16 else array.astype(np.float32).ravel()
            head = _described(name, array.dtype, array.shape, None)
            entries.append(b'%b,"data":%b}' % (head, orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)))
    end = b"" if inference.id is None else b',"id":' + orjson.dumps(inference.id)
    header = b"%b[%b]%b}" % (_named(model.name, model.version), b",".join(entries), end)
    if not raw:
        return Response(200, header, JSON)
    return Response(200, b"".join((header, *raw)), BINARY, ((LENGTH_HEADER, str(len(header))),))


@lru_cache(_LAYOUTS)
def _named(name: str, version: str) -> bytes:
    """An answer's JSON up to its tensors."""
    known: bytes = orjson.dumps({"model_name": name, "model_version": version})
    return known[:-1] + b',"outputs":'


@lru_cache(_LAYOUTS)
def _described(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], size: int | None) -> bytes:
    """What the JSON of an answer says of a tensor; open at its end where the data follow and not ``size`` bytes."""
    entry = {"name": name, "datatype": OF_ARRAY.get(dtype) or datatype_name(dtype.name), "shape": shape}
    text: bytes = orjson.dumps(entry if size is None else {**entry, "parameters": {"binary_data_size": size}})
    return text[:-1] if size is None else text


def parse_json(body: bytes, settings: Settings, *, flat: bool = False) -> dict[str, Any]:
    """The JSON object in a body.

    Args:
        body: The text.
        settings: Of the server.
        flat: Give the ``data`` of ``inputs`` as arrays, where they are numbers alone and many.

    Raises:
        HTTPError: 400, not JSON, not an object, or nested too deeply.
    """
    # Before anything is made of it: a bracket costs one byte to send and a Python object to read.
    brackets = _count(body, b"[") + _count(body, b"{")
    if brackets > _MAX_BRACKETS:
        raise bad_request(
            f"body: expected at most {_MAX_BRACKETS} lists and objects, got {brackets}; send data as one flat list"
        )
    if brackets > settings.max_json_depth and depth(body) > settings.max_json_depth:
        _check_json(body)
        raise bad_request(f"body: expected at most {settings.max_json_depth} levels of nesting, got more")
    if flat and len(body) > flat_json.LEAST and (found := flat_json.load(body)) is not None:
        return found
    document = _check_json(body)
    if not isinstance(document, dict):
        raise bad_request(f"body: expected a JSON object, got {type(document).__name__}")
    return document


def _number(text: str) -> int | None:
    """What digits say; Python itself refuses thousands of them."""
    if not (text.isascii() and text.isdigit()):
        return None
    if len(text) > _MAX_DIGITS:
        text = text.lstrip("0") or "0"
    return int(text) if len(text) <= _MAX_DIGITS else None


def _count(body: bytes, sign: bytes) -> int:
    """How often a byte comes: seldom in most requests, and then `bytes.find` is much faster than `bytes.count`."""
    count, place = 0, body.find(sign)
    while place >= 0:
        count += 1
        if count > _FEW:
            return body.count(sign)
        place = body.find(sign, place + 1)
    return count


def _check_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"body: expected JSON, got {len(body)} bytes that are not ({error})") from None


def depth(body: bytes) -> int:
    """Levels of nesting in a JSON text, counted over its bytes; what stands in strings does not count."""
    if b'"' in body:
        body = _STRINGS.sub(b"", body)
    # Brackets are 0x5B and 0x7B (open), 0x5D and 0x7D (close): with bit 5 set only two values are left.
    codes = np.frombuffer(body, np.uint8) | 0x20
    steps = (codes == ord("{")).astype(np.int8) - (codes == ord("}")).astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


def check_shape(shape: object, field: str, settings: Settings) -> tuple[int, ...]:
    """A shape whose size can be afforded, before anything of that size is made.

    Raises:
        HTTPError: 400, not a list of sizes, or too many elements.
    """
    if not isinstance(shape, list):
        raise bad_request(f"{field}: expected a list of sizes from 0, got {truncate(shape)}")
    for size in shape:
        if type(size) is not int or size < 0:
            raise bad_request(f"{field}: expected a list of sizes from 0, got {truncate(shape)}")
    if len(shape) > _MAX_DIMENSIONS:
        raise bad_request(f"{field}: expected at most {_MAX_DIMENSIONS} dimensions, got {len(shape)}")
    # An empty tensor can still ask for a huge answer, so sizes of 0 do not hide the others.
    if math.prod([size or 1 for size in shape]) > settings.max_elements:
        raise bad_request(f"{field}: expected at most {settings.max_elements} elements, got {truncate(shape)}")
    return tuple(shape)


def collect(feeds: dict[str, NDArray[Any]], model: Served) -> int:
    """Check that every input is there, and give the number of rows.

    Raises:
        HTTPError: 400, an input is missing or their first axes differ.
    """
    if len(feeds) != len(model.inputs):
        missing = [name for name in model.inputs if name not in feeds]
        raise bad_request(f"inputs: expected {', '.join(model.inputs)}, got none named {', '.join(missing)}")
    if len(feeds) == 1:
        (array,) = feeds.values()
        return array.shape[0] if array.ndim else 1
    sizes = {array.shape[0] if array.ndim else 1 for array in feeds.values()}
    if model.batched and len(sizes) > 1:
        raise bad_request(f"inputs: expected one batch size for all, got {sorted(sizes)}")
    return max(sizes, default=1)


def check_name(name: object, known: dict[str, Any], field: str) -> str:
    """A declared tensor's name.

    Raises:
        HTTPError: 400, there is none of that name.
    """
    if isinstance(name, str) and name in known:
        return name
    raise bad_request(f"{field}: expected one of {', '.join(known)}, got {truncate(name)}")


def _from_document(document: dict[str, Any], binary: memoryview, model: Served, settings: Settings) -> Inference:
    identifier = document.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise bad_request(f"id: expected a string, got {truncate(identifier)}")
    parameters = _object(document.get("parameters"), "parameters")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise bad_request(f"inputs: expected a list of tensors, got {truncate(inputs)}")
    feeds: dict[str, NDArray[Any]] = {}
    for number, entry in enumerate(inputs):
        field = f"inputs[{number}]"
        name = _named_once(entry, field, known=model.inputs, seen=feeds, kind="input")
        shape = check_shape(entry.get("shape"), f"{field}.shape", settings)
        datatype = check_datatype(entry.get("datatype"), f"{field}.datatype")
        array, binary = _values(entry, shape, datatype, binary, field)
        feeds[name] = model.prepare(name, array, shape)
    if len(binary):
        raise bad_request(f"body: expected the declared tensors and no more, got {len(binary)} bytes behind them")
    rows = collect(feeds, model)
    return Inference(feeds, rows, _outputs(document.get("outputs"), parameters, model), identifier)


def _named_once(entry: Any, field: str, *, known: Any, seen: Any, kind: str) -> str:
    """The name of one entry of ``inputs`` or ``outputs``: one the model has, and not named before."""
    if not isinstance(entry, dict):
        raise bad_request(f"{field}: expected an object, got {truncate(entry)}")
    name = check_name(entry.get("name"), known, f"{field}.name")
    if name in seen:
        raise bad_request(f"{field}.name: expected each {kind} once, got {name} again")
    return name


def _values(
    entry: dict[str, Any], shape: tuple[int, ...], datatype: str, binary: memoryview, field: str
) -> tuple[NDArray[Any], memoryview]:
    """A tensor's flat values, and the binary data left over."""
    count = math.prod(shape)
    parameters = _object(entry.get("parameters"), f"{field}.parameters")
    if "shared_memory_region" in parameters:
        raise bad_request(
            f"{field}.parameters: expected data in the request, got a shared memory region, which is not served"
        )
    size = parameters.get("binary_data_size")
    if size is None:
        if datatype == "BF16":
            raise bad_request(f"{field}.datatype: expected BF16 as binary data, got JSON")
        data = from_list(entry.get("data"), datatype, f"{field}.data")
        if data.size != count or (data.ndim > 1 and data.shape != shape):
            raise bad_request(
                f"{field}.data: expected {count} numbers for shape {list(shape)}, got shape {list(data.shape)}"
            )
        return data.reshape(-1), binary
    if "data" in entry:
        raise bad_request(f"{field}: expected data or parameters.binary_data_size, got both")
    if type(size) is not int or not 0 <= size <= len(binary):
        raise bad_request(_too_short(field, len(binary), size))
    width = BF16_BYTES if datatype == "BF16" else NUMPY[datatype].itemsize
    if size != count * width:
        raise bad_request(
            f"{field}.parameters.binary_data_size: expected {count * width} for {datatype} {list(shape)}, got {size}"
        )
    return from_bytes(binary[:size], datatype, field), binary[size:]


def _too_short(field: str, left: int, size: object) -> str:
    return f"{field}.parameters.binary_data_size: expected a number up to the {left} bytes left, got {truncate(size)}"


def _from_raw(body: bytes, model: Served, settings: Settings) -> Inference:
    if len(model.inputs) != 1:
        raise bad_request(f"body: expected a JSON header, got raw data for a model of {len(model.inputs)} inputs")
    info = next(iter(model.inputs.values()))
    datatype = check_datatype(datatype_name(info.dtype), f"input {info.name}")
    free = [place for place, size in enumerate(info.shape) if not isinstance(size, int)]
    if len(free) > 1:
        raise bad_request(f"body: expected a JSON header with a shape, got raw data for input {info}")
    row = math.prod(size for size in info.shape if isinstance(size, int)) * NUMPY[datatype].itemsize
    if not body or (len(body) % row if free else len(body) != row):
        raise bad_request(
            f"body: expected {'a multiple of ' if free else ''}{row} bytes for input {info}, got {len(body)}"
        )
    shape = [size if isinstance(size, int) else len(body) // row for size in info.shape]
    checked = check_shape(shape, "body", settings)
    array = model.prepare(info.name, from_bytes(memoryview(body), datatype, "body"), checked)
    return Inference({info.name: array}, array.shape[0] if array.ndim else 1, dict.fromkeys(model.outputs, True))


def _outputs(entries: object, parameters: dict[str, Any], model: Served) -> dict[str, bool]:
    everything = _flag(parameters.get("binary_data_output", False), "parameters.binary_data_output")
    if entries is None:
        return dict.fromkeys(model.outputs, everything)
    if not isinstance(entries, list):
        raise bad_request(f"outputs: expected a list, got {truncate(entries)}")
    wanted: dict[str, bool] = {}
    for number, entry in enumerate(entries):
        field = f"outputs[{number}]"
        name = _named_once(entry, field, known=model.outputs, seen=wanted, kind="output")
        own = _object(entry.get("parameters"), f"{field}.parameters")
        for unserved in ("classification", "shared_memory_region"):
            if unserved in own:
                raise bad_request(
                    f"{field}.parameters: expected binary_data alone, got {unserved}, which is not served"
                )
        wanted[name] = _flag(own.get("binary_data", everything), f"{field}.parameters.binary_data")
    return wanted or dict.fromkeys(model.outputs, everything)


def _object(value: object, field: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_request(f"{field}: expected an object, got {truncate(value)}")
    return value


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise bad_request(f"{field}: expected true or false, got {truncate(value)}")
    return value
