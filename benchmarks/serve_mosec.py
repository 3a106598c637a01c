"""The model behind mosec, a front in Rust, one Python worker with batches of up to 64; see serve_contenders.py.

    MODEL=FILE python serve_mosec.py --port PORT

A file of its own, because mosec's worker process imports the classes from it, and because mosec reads the command line.
"""

import os
from typing import Any

import mosec
import numpy as np
import orjson
from serve_contenders import session


class Json(mosec.Worker):
    """JSON in the protocol's form."""

    def __init__(self) -> None:
        self.session = session(os.environ["MODEL"])

    def deserialize(self, data: bytes) -> Any:
        """The image."""
        return np.array(orjson.loads(data)["inputs"][0]["data"], np.float32)

    def serialize(self, data: Any) -> bytes:
        """The answer."""
        answer = {"outputs": [{"name": "probabilities", "data": data}]}
        return bytes(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))

    def forward(self, data: list[Any]) -> list[Any]:
        """Run a batch."""
        return list(self.session.run(None, {"image": np.stack(data)})[0])


class Binary(Json):
    """One raw tensor."""

    def deserialize(self, data: bytes) -> Any:
        """The image."""
        return np.frombuffer(data, np.float32)

    def serialize(self, data: Any) -> bytes:
        """The answer."""
        return bytes(data.tobytes())


if __name__ == "__main__":
    app = mosec.Server()
    app.register_runtime(
        {
            "/json": [mosec.Runtime(Json, max_batch_size=64, max_wait_time=1)],
            "/binary": [mosec.Runtime(Binary, max_batch_size=64, max_wait_time=1)],
        }
    )
    app.run()
