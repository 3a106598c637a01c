"""The Open Inference Protocol over gRPC, beside HTTP in the same process and event loop: same models, queue and limits.

Every method is served as one that takes a stream, which is the same on the wire: token and limits are then checked
before a message has come, and a message that does not come has a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit import __version__
from mnistkit.core.errors import InputError, MissingExtraError, one_line
from mnistkit.core.install import install_hint
from mnistkit.serve.http import HTTPError, Request, Response, bad_request, truncate
from mnistkit.serve.protocol.datatypes import BF16_BYTES, NUMPY, check_datatype, datatype_name, exact, from_bytes
from mnistkit.serve.protocol.inference import Inference, check_name, check_shape, collect

try:
    import grpc

    from mnistkit.serve.protocol.messages import METHODS, SERVICE, messages, pool
except ImportError as error:
    raise MissingExtraError(f"{error.name} is not installed; run {install_hint('grpc')}") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.serve.app import App
    from mnistkit.serve.pool import Ticket
    from mnistkit.serve.served_model import ServedModel
    from mnistkit.serve.settings import Settings

logger = logging.getLogger("mnistkit.serve")
_HEAVY = 256 * 1024  # bytes of a message that a thread reads
_HEALTH = "grpc.health.v1.Health"
_OPEN = frozenset({"ServerLive", "ServerReady", "ModelReady"})
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
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


class GrpcServer:
    """A running gRPC server; `start` makes one."""

    def __init__(self, app: App) -> None:
        self._app, self._settings = app, app.settings
        settings = app.settings
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", settings.max_body),
                ("grpc.max_metadata_size", settings.max_header_bytes),
                ("grpc.max_concurrent_streams", settings.max_client_requests),
                ("grpc.server_handshake_timeout_ms", int(settings.receive_timeout * 1000)),
                ("grpc.so_reuseport", int(settings.workers > 1)),
            ]
        )
        handlers = {name: self._handler(name) for name in METHODS}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._health = _health_servicer(self._server)
        self.port = 0

    @classmethod
    async def start(cls, app: App) -> GrpcServer:
        """Listen for gRPC.

        Raises:
            InputError: The port cannot be had.
        """
        made = cls(app)
        settings = app.settings
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            made.port = made._bind(f"{address}:{settings.grpc_port}")
        except RuntimeError as error:
            raise InputError(
                f"--grpc-port {settings.grpc_port}: cannot listen there ({error}); choose another"
            ) from None
        await made._server.start()
        return made

    def _bind(self, address: str) -> int:
        settings = self._settings
        if settings.tls_cert is None or settings.tls_key is None:
            return int(self._server.add_insecure_port(address))
        first = _certificates(settings)
        wanted = settings.tls_client_ca is not None
        credentials = grpc.dynamic_ssl_server_credentials(first, lambda: _certificates(settings), wanted)
        return int(self._server.add_secure_port(address, credentials))

    async def stop(self, seconds: float) -> None:
        """Refuse new calls, let the running ones finish."""
        if self._health is not None:
            await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)

    # --- methods ----------------------------------------------------------------------------------------------------

    async def ServerLive(self, *_: Any) -> Any:  # noqa: N802 - the protocol's name, as below
        """Whether the process runs."""
        return messages().ServerLiveResponse(live=True)

    async def ServerReady(self, *_: Any) -> Any:  # noqa: N802
        """Whether to send requests here."""
        return messages().ServerReadyResponse(ready=not self._app.draining)

    async def ModelReady(self, message: Any, *, authorized: bool, **_: Any) -> Any:  # noqa: N802
        """Whether a model answers."""
        self._app.models.get(message.name, message.version, discreet=not authorized)
        return messages().ModelReadyResponse(ready=not self._app.draining)

    async def ServerMetadata(self, *_: Any, **__: Any) -> Any:  # noqa: N802
        """Name and version."""
        return messages().ServerMetadataResponse(name="mnistkit", version=__version__, extensions=self._app.extensions)

    async def ModelMetadata(self, message: Any, **_: Any) -> Any:  # noqa: N802
        """Inputs and outputs of a model."""
        return messages().ModelMetadataResponse(**self._app.models.metadata(message.name, message.version))

    async def ModelInfer(self, message: Any, *, deadline: float, **_: Any) -> Any:  # noqa: N802
        """Run a model."""
        model = self._app.models.get(message.model_name, message.model_version)
        if message.ByteSize() > _HEAVY:
            question = await self._app.pool.run(_parse_heavy, message, model, self._settings, deadline=deadline)
        else:
            question = parse(message, model, self._settings)
        outputs = await self._app.run(model, question, deadline=deadline)
        reply = messages().ModelInferResponse(model_name=model.name, model_version=model.version, id=message.id)
        for name in question.outputs:
            array = np.ascontiguousarray(outputs[name])
            reply.outputs.add(name=name, datatype=datatype_name(array.dtype.name), shape=outputs[name].shape)
            reply.raw_output_contents.append(array.tobytes())
        return reply

    async def RepositoryIndex(self, message: Any, **_: Any) -> Any:  # noqa: N802
        """State of every model."""
        return messages().RepositoryIndexResponse(models=self._app.control.index(ready=message.ready))

    async def RepositoryModelLoad(self, message: Any, **_: Any) -> Any:  # noqa: N802
        """Load a model of the repository."""
        self._check_control(message)
        await self._app.control.load(message.model_name)
        return messages().RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, message: Any, **_: Any) -> Any:  # noqa: N802
        """Serve a model of the repository no longer."""
        self._check_control(message)
        await self._app.control.unload(message.model_name)
        return messages().RepositoryModelUnloadResponse()

    def _check_control(self, message: Any) -> None:
        self._app.access.check_control()
        for name in message.parameters:
            if name != "unload_dependents":
                raise bad_request(
                    f"parameters: expected none, got {truncate(name)}; files come from the repository alone"
                )

    # --- calls ------------------------------------------------------------------------------------------------------

    def _handler(self, name: str) -> Any:
        async def call(stream: Any, context: Any) -> Any:
            return await self._call(name, stream, context)

        return grpc.stream_unary_rpc_method_handler(
            call, response_serializer=getattr(messages(), f"{name}Response").SerializeToString
        )

    async def _call(self, name: str, stream: Any, context: Any) -> Any:
        """Check the token, count, and turn errors into status codes."""
        app, start = self._app, time.monotonic()
        client = _client(context.peer())
        metadata = dict(context.invocation_metadata() or ())
        headers = {key: metadata[key] for key in ("user-agent", "traceparent", "tracestate") if key in metadata}
        request = Request("POST", f"/{SERVICE}/{name}", "", headers, b"", client, "2")
        response = Response(200)
        reply, code, text = None, None, ""
        try:
            authorized = app.access.authorized(metadata.get("authorization"))
            _check_token(name, authorized=authorized)
            if name in {"ServerLive", "ServerReady"}:
                await self._read(name, stream, request)
                reply = await getattr(self, name)()
            else:
                reply = await self._limited(name, stream, request, authorized=authorized, deadline=start
                                            + self._settings.timeout)  # fmt: skip
        except (HTTPError, InputError) as error:
            response.status = error.status if isinstance(error, HTTPError) else 400
            code = getattr(grpc.StatusCode, _CODES.get(response.status, "INVALID_ARGUMENT"))
            text = one_line(error, limit=500)
        except Exception:
            response.status, code = 500, grpc.StatusCode.INTERNAL
            text = "internal error; the server's log has the details"
            logger.exception("a bug in the server")
        finally:
            app.answered(request, f"grpc {name}", response, time.monotonic() - start)
        if code is not None:
            await context.abort(code, text)
        return reply

    async def _limited(self, name: str, stream: Any, request: Request, *, authorized: bool, deadline: float) -> Any:
        budget, size = self._app.budget, 0
        budget.enter(request.client)
        try:
            message = await self._read(name, stream, request)
            budget.reserve(request.size)
            size = request.size
            return await getattr(self, name)(message, authorized=authorized, deadline=deadline)
        finally:
            budget.leave(request.client, size)

    async def _read(self, name: str, stream: Any, request: Request) -> Any:
        """The call's one message."""
        try:
            async with asyncio.timeout(self._settings.receive_timeout):
                async for raw in stream:
                    request.body, request.size = raw, len(raw)
                    break
                else:
                    raise bad_request("message: expected one, got none")
        except TimeoutError:
            limit = f"{self._settings.receive_timeout:g} s"
            raise HTTPError(408, f"message: expected all of it within {limit}, got a part") from None
        try:
            return getattr(messages(), f"{name}Request").FromString(request.body)
        except Exception as error:  # noqa: BLE001 - protobuf's own class differs between its implementations
            raise bad_request(f"message: expected {name}Request, got something else ({error})") from None


def _check_token(name: str, *, authorized: bool) -> None:
    if name not in _OPEN and not authorized:
        raise HTTPError(401, "metadata authorization: expected Bearer and the server's token, got none or another")


def _client(peer: str) -> str:
    """``ipv4:127.0.0.1:50000`` without kind and port."""
    return peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "") or peer


def _certificates(settings: Settings) -> Any:
    """What is on the disk now; gRPC asks at every handshake."""
    assert settings.tls_cert is not None
    assert settings.tls_key is not None
    authorities = None
    with contextlib.suppress(OSError):  # a file that is being replaced: the certificates before hold
        with open(settings.tls_key, "rb") as key, open(settings.tls_cert, "rb") as chain:  # noqa: PTH123 - as ssl does
            pair = key.read(), chain.read()
        if settings.tls_client_ca is not None:
            with open(settings.tls_client_ca, "rb") as stream:  # noqa: PTH123
                authorities = stream.read()
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)
    return None


def _health_servicer(server: Any) -> Any:
    """Add ``grpc.health.v1`` and reflection, where their packages are installed."""
    services = [SERVICE]
    servicer = None
    with contextlib.suppress(ImportError):
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc

        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        for name in ("", SERVICE):
            servicer._server_status[name] = health_pb2.HealthCheckResponse.SERVING  # noqa: SLF001 - `set` is a coroutine
        services.append(_HEALTH)
    with contextlib.suppress(ImportError):
        from grpc_reflection.v1alpha import reflection

        reflection.enable_server_reflection([*services, reflection.SERVICE_NAME], server, pool=pool())
    return servicer


def parse(message: Any, model: ServedModel, settings: Settings) -> Inference:
    """Check a ``ModelInferRequest``.

    Raises:
        HTTPError: 400, with the field, what was expected and what was sent.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise bad_request(f"raw_input_contents: expected one for each of {len(message.inputs)} inputs, got {len(raw)}")
    feeds: dict[str, NDArray[Any]] = {}
    for number, tensor in enumerate(message.inputs):
        field = f"inputs[{number}]"
        name = check_name(tensor.name, model.inputs, f"{field}.name")
        if name in feeds:
            raise bad_request(f"{field}.name: expected each input once, got {name} again")
        if "shared_memory_region" in tensor.parameters:
            raise bad_request(f"{field}.parameters: expected data in the request, got a shared memory region")
        shape = check_shape(list(tensor.shape), f"{field}.shape", settings)
        datatype = check_datatype(tensor.datatype, f"{field}.datatype")
        values = (
            _raw(raw[number], datatype, shape, f"raw_input_contents[{number}]")
            if raw
            else _typed(tensor.contents, datatype, shape, f"{field}.contents")
        )
        feeds[name] = model.prepare(name, values, shape)
    rows = collect(feeds, model)
    wanted: dict[str, bool] = {}
    for number, output in enumerate(message.outputs):
        name = check_name(output.name, model.outputs, f"outputs[{number}].name")
        if name in wanted:
            raise bad_request(f"outputs[{number}].name: expected each output once, got {name} again")
        for unserved in ("classification", "shared_memory_region"):
            if unserved in output.parameters:
                raise bad_request(f"outputs[{number}].parameters: expected none, got {unserved}, which is not served")
        wanted[name] = True
    return Inference(feeds, rows, wanted or dict.fromkeys(model.outputs, True))


def _parse_heavy(_: Ticket, message: Any, model: ServedModel, settings: Settings) -> Inference:
    return parse(message, model, settings)


def _raw(content: bytes, datatype: str, shape: tuple[int, ...], field: str) -> NDArray[Any]:
    width = BF16_BYTES if datatype == "BF16" else NUMPY[datatype].itemsize
    if len(content) != math.prod(shape) * width:
        wanted = math.prod(shape) * width
        raise bad_request(f"{field}: expected {wanted} bytes for {datatype} {list(shape)}, got {len(content)}")
    return from_bytes(memoryview(content), datatype, field)


def _typed(contents: Any, datatype: str, shape: tuple[int, ...], field: str) -> NDArray[Any]:
    source = _CONTENTS.get(datatype)
    if source is None:
        raise bad_request(f"{field}: expected {datatype} in raw_input_contents, got none there")
    values = np.array(getattr(contents, source), NUMPY[{"int_contents": "INT32", "uint_contents": "UINT32"}.get(
        source, datatype)])  # fmt: skip
    if values.size != math.prod(shape):
        raise bad_request(f"{field}.{source}: expected {math.prod(shape)} numbers for {list(shape)}, got {values.size}")
    return exact(values, NUMPY[datatype], field)
