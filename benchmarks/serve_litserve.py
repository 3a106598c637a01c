"""The model behind LitServe, one worker, JSON; see serve_contenders.py.

    python serve_litserve.py PORT MODEL

A file of its own, because LitServe's worker process imports the class from it.
"""

import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from serve_contenders import session


class Api(litserve.LitAPI):
    """JSON in the protocol's form."""

    def setup(self, device: str) -> None:
        """In the worker."""
        del device
        self.session = session(sys.argv[2])

    def decode_request(self, request: Request) -> Any:
        """The image."""
        given = request["inputs"][0]  # LitServe hands over the parsed body
        return np.array(given["data"], np.float32).reshape(given["shape"])

    def predict(self, x: Any) -> Any:
        """Run."""
        return self.session.run(None, {"image": x})[0]

    def encode_response(self, output: Any) -> Any:
        """The answer."""
        found = {"name": "probabilities", "shape": list(output.shape), "datatype": "FP32"}
        return {"outputs": [{**found, "data": output.ravel().tolist()}]}


if __name__ == "__main__":
    litserve.LitServer(Api(api_path="/json"), accelerator="cpu", workers_per_device=1).run(
        port=int(sys.argv[1]), host="127.0.0.1", num_api_servers=1, generate_client_file=False, log_level="error"
    )
