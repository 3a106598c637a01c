"""The same model behind other servers: one process, one thread of onnxruntime, one image a request.

    python serve_contenders.py NAME PORT MODEL

Each takes the request that the Open Inference Protocol prescribes, as far as its framework lets it, and checks nothing
beyond what it needs to answer. Binary is the raw tensor alone, which is less work than our binary request.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime


def session(path: str) -> Any:
    """As mnistkit opens it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def from_json(run: Any, document: dict[str, Any]) -> dict[str, Any]:
    """The answer to an infer request."""
    given = document["inputs"][0]
    array = np.array(given["data"], np.float32).reshape(given["shape"])
    (found,) = run.run(None, {"image": array})
    output = {"name": "probabilities", "datatype": "FP32", "shape": list(found.shape), "data": found.ravel().tolist()}
    return {"model_name": "mnist", "outputs": [output]}


def from_binary(run: Any, body: bytes) -> bytes:
    """The answer to one raw image."""
    return run.run(None, {"image": np.frombuffer(body, np.float32).reshape(1, 784)})[0].tobytes()


def starlette(port: int, model: str) -> None:
    """Bare Starlette and orjson."""
    import orjson
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    run = session(model)

    async def as_json(request: Any) -> Response:
        answer = from_json(run, orjson.loads(await request.body()))
        return Response(orjson.dumps(answer), media_type="application/json")

    async def as_binary(request: Any) -> Response:
        return Response(from_binary(run, await request.body()), media_type="application/octet-stream")

    routes = [Route("/json", as_json, methods=["POST"]), Route("/binary", as_binary, methods=["POST"])]
    uvicorn.run(Starlette(routes=routes), port=port, log_level="error", access_log=False)


def fastapi(port: int, model: str) -> None:
    """A FastAPI handler as its tutorial writes it, with a pydantic model."""
    import uvicorn
    from fastapi import FastAPI, Request, Response
    from pydantic import BaseModel

    run = session(model)
    app = FastAPI()

    class Tensor(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Infer(BaseModel):
        inputs: list[Tensor]

    async def as_json(request: Infer) -> dict[str, Any]:
        return from_json(run, request.model_dump())

    async def as_binary(request: Request) -> Response:
        return Response(from_binary(run, await request.body()), media_type="application/octet-stream")

    as_json.__annotations__ = {"request": Infer}
    as_binary.__annotations__ = {"request": Request}
    app.post("/json")(as_json)
    app.post("/binary", response_class=Response)(as_binary)
    uvicorn.run(app, port=port, log_level="error", access_log=False)


def constant(port: int, model: str) -> None:
    """An uvicorn answering a constant: what its HTTP alone costs."""
    import uvicorn

    del model

    async def app(_: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"40")]})
        await send({"type": "http.response.body", "body": b"0" * 40})

    uvicorn.run(app, port=port, log_level="error", access_log=False, lifespan="off")


def granian(port: int, model: str) -> None:
    """Bare Granian: no limits, no metrics, no checks."""
    import asyncio

    import orjson
    import uvloop
    from granian.constants import HTTPModes, Interfaces
    from granian.server.embed import Server

    run = session(model)

    async def app(scope: Any, protocol: Any) -> None:
        body = await protocol()
        if scope.path == "/json":
            answer = orjson.dumps(from_json(run, orjson.loads(body)))
            protocol.response_bytes(200, [("content-type", "application/json")], answer)
        else:
            protocol.response_bytes(200, [("content-type", "application/octet-stream")], from_binary(run, body))

    async def serve() -> None:
        await Server(app, port=port, interface=Interfaces.RSGI, http=HTTPModes.http1, log_enabled=False).serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    {function.__name__: function for function in (starlette, fastapi, constant, granian)}[sys.argv[1]](
        int(sys.argv[2]), sys.argv[3]
    )
