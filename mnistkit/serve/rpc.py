"""The Open Inference Protocol over gRPC, beside HTTP in the same process: same models, queue, limits and numbers."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hmac
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit import __version__
from mnistkit.core.errors import InputError, MissingExtraError, one_line
from mnistkit.core.install import install_hint
from mnistkit.serve.datatypes import BF16_BYTES, NUMPY, check_datatype, datatype_name, exact, from_bytes
from mnistkit.serve.http import Refusal, bad
from mnistkit.serve.infer import Inference, check_name, check_shape, collect
from mnistkit.serve.repository import VERSION

try:
    import grpc

    from mnistkit.serve.messages import METHODS, SERVICE, messages
except ImportError as error:
    raise MissingExtraError(f"{error.name} is not installed; run {install_hint('grpc')}") from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mnistkit.serve.repository import ServedModel
    from mnistkit.serve.service import Service

logger = logging.getLogger("mnistkit.serve")
_THREADS = 8  # each waits for one answer from the event loop
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# Which field of InferTensorContents holds a datatype; FP16 and BF16 have none and come raw.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def start_grpc(service: Service, loop: asyncio.AbstractEventLoop) -> Rpc:
    """Listen for gRPC.

    Raises:
        InputError: The port cannot be had, or TLS was asked for.
    """
    return Rpc(service, loop)


class Rpc:
    """A running gRPC server."""

    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service, self._loop = service, loop
        settings = self._settings = service.settings
        self._token = service.token
        self._server = grpc.server(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
            maximum_concurrent_rpcs=_THREADS + settings.max_queue,
            options=[
                ("grpc.max_receive_message_length", settings.max_body),
                ("grpc.max_metadata_size", settings.max_header_bytes),
                ("grpc.so_reuseport", int(settings.workers > 1)),
            ],
        )
        made = messages()
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._guard(name, getattr(self, name)),
                request_deserializer=getattr(made, f"{name}Request").FromString,
                response_serializer=getattr(made, f"{name}Response").SerializeToString,
            )
            for name in METHODS
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            self.port: int = self._bind(f"{address}:{settings.grpc_port}")
        except RuntimeError as error:
            raise InputError(
                f"--grpc-port {settings.grpc_port}: cannot listen there ({error}); choose another"
            ) from None
        self._server.start()

    def _bind(self, address: str) -> int:
        settings = self._settings
        if settings.tls_cert is None or settings.tls_key is None:
            return int(self._server.add_insecure_port(address))
        with open(settings.tls_key, "rb") as key, open(settings.tls_cert, "rb") as chain:  # noqa: PTH123 - as ssl does
            credentials = grpc.ssl_server_credentials([(key.read(), chain.read())])
        return int(self._server.add_secure_port(address, credentials))

    def stop(self, seconds: float) -> None:
        """Refuse new calls, let the running ones finish."""
        self._server.stop(seconds).wait()

    # --- methods ----------------------------------------------------------------------------------------------------

    def ServerLive(self, _: Any) -> Any:  # noqa: N802 - the protocol's name, as below
        """Whether the process runs."""
        return messages().ServerLiveResponse(live=True)

    def ServerReady(self, _: Any) -> Any:  # noqa: N802
        """Whether to send requests here."""
        return messages().ServerReadyResponse(ready=not self._service.draining)

    def ModelReady(self, request: Any) -> Any:  # noqa: N802
        """Whether a model answers."""
        self._service.repository.get(request.name, request.version)
        return messages().ModelReadyResponse(ready=not self._service.draining)

    def ServerMetadata(self, _: Any) -> Any:  # noqa: N802
        """Name and version."""
        return messages().ServerMetadataResponse(name="mnistkit", version=__version__)

    def ModelMetadata(self, request: Any) -> Any:  # noqa: N802
        """Inputs and outputs of a model."""
        return messages().ModelMetadataResponse(
            **self._service.repository.get(request.name, request.version).metadata()
        )

    def ModelInfer(self, request: Any) -> Any:  # noqa: N802
        """Run a model."""
        model = self._service.repository.get(request.model_name, request.model_version)
        inference = self._parse(request, model)
        work = asyncio.run_coroutine_threadsafe(self._service.run(model, inference), self._loop)
        try:
            outputs = work.result(self._settings.timeout + 5)  # the queue's own deadline comes first
        except concurrent.futures.TimeoutError:
            raise Refusal(504, f"timeout: expected an answer within {self._settings.timeout:g} s, got none") from None
        reply = messages().ModelInferResponse(model_name=model.name, model_version=VERSION, id=request.id)
        for name in inference.outputs:
            array = np.ascontiguousarray(outputs[name])
            reply.outputs.add(name=name, datatype=datatype_name(array.dtype.name), shape=outputs[name].shape)
            reply.raw_output_contents.append(array.tobytes())
        return reply

    # --- checking ---------------------------------------------------------------------------------------------------

    def _guard(self, name: str, method: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        """A method that checks the token, counts itself and turns errors into status codes."""
        is_open = name in {"ServerLive", "ServerReady", "ModelReady"}
        route = f"grpc {name}"

        def call(request: Any, context: Any) -> Any:
            start = time.perf_counter()
            status = 200
            try:
                if self._token is not None and not is_open:
                    self._admit(context)
                return method(request)
            except (Refusal, InputError) as error:
                status = error.status if isinstance(error, Refusal) else 400
                code = getattr(grpc.StatusCode, _CODES.get(status, "INVALID_ARGUMENT"))
                text = one_line(error, limit=500)
            except Exception:
                status, code, text = 500, grpc.StatusCode.INTERNAL, "internal error; the server's log has the details"
                logger.exception("a bug in the server")
            finally:
                # counted where everything is counted, in the loop's thread
                self._loop.call_soon_threadsafe(
                    self._service.metrics.answered, route, status, time.perf_counter() - start
                )
            context.abort(code, text)
            return None

        return call

    def _admit(self, context: Any) -> None:
        given = dict(context.invocation_metadata()).get("authorization", "")
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token or b""):
            raise Refusal(401, "metadata authorization: expected Bearer and the server's token, got none or another")

    def _parse(self, request: Any, model: ServedModel) -> Inference:
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            raise bad(f"raw_input_contents: expected one for each of {len(request.inputs)} inputs, got {len(raw)}")
        feeds: dict[str, NDArray[Any]] = {}
        for number, tensor in enumerate(request.inputs):
            field = f"inputs[{number}]"
            name = check_name(tensor.name, model.inputs, f"{field}.name")
            if name in feeds:
                raise bad(f"{field}.name: expected each input once, got {name} again")
            if "shared_memory_region" in tensor.parameters:
                raise bad(f"{field}.parameters: expected data in the request, got a shared memory region")
            shape = check_shape(list(tensor.shape), f"{field}.shape", self._settings)
            datatype = check_datatype(tensor.datatype, f"{field}.datatype")
            values = (
                _raw(raw[number], datatype, shape, f"raw_input_contents[{number}]")
                if raw
                else _typed(tensor.contents, datatype, shape, f"{field}.contents")
            )
            feeds[name] = model.prepare(name, values, shape)
        rows = collect(feeds, model)
        wanted: dict[str, bool] = {}
        for number, output in enumerate(request.outputs):
            name = check_name(output.name, model.outputs, f"outputs[{number}].name")
            if name in wanted:
                raise bad(f"outputs[{number}].name: expected each output once, got {name} again")
            for unserved in ("classification", "shared_memory_region"):
                if unserved in output.parameters:
                    raise bad(f"outputs[{number}].parameters: expected none, got {unserved}, which is not served")
            wanted[name] = True
        return Inference(feeds, rows, wanted or dict.fromkeys(model.outputs, True))


def _raw(content: bytes, datatype: str, shape: tuple[int, ...], field: str) -> NDArray[Any]:
    width = BF16_BYTES if datatype == "BF16" else NUMPY[datatype].itemsize
    if len(content) != math.prod(shape) * width:
        wanted = math.prod(shape) * width
        raise bad(f"{field}: expected {wanted} bytes for {datatype} {list(shape)}, got {len(content)}")
    return from_bytes(memoryview(content), datatype, field)


def _typed(contents: Any, datatype: str, shape: tuple[int, ...], field: str) -> NDArray[Any]:
    source = _CONTENTS.get(datatype)
    if source is None:
        raise bad(f"{field}: expected {datatype} in raw_input_contents, got none there")
    values = np.array(getattr(contents, source), NUMPY[{"int_contents": "INT32", "uint_contents": "UINT32"}.get(
        source, datatype)])  # fmt: skip
    if values.size != math.prod(shape):
        raise bad(f"{field}.{source}: expected {math.prod(shape)} numbers for {list(shape)}, got {values.size}")
    return exact(values, NUMPY[datatype], field)
