"""The model behind MLServer, one process, JSON; see serve_contenders.py.

    python serve_mlserver.py PORT MODEL

A file of its own, because MLServer imports the class from it. Its HTTP front has no binary tensors.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from serve_contenders import session


class Mnist(MLModel):
    """The protocol's JSON, as MLServer reads it."""

    async def load(self) -> bool:
        """Open the model."""
        self.session = session(str(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run."""
        array = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        (found,) = self.session.run(None, {"image": array})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("probabilities", found)])


if __name__ == "__main__":
    port, model = int(sys.argv[1]), sys.argv[2]
    settings = {"debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
                "parallel_workers": 0}  # fmt: skip
    about = {"name": "mnist", "implementation": "serve_mlserver.Mnist", "parameters": {"uri": model}}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        (Path(folder) / "model-settings.json").write_text(json.dumps(about))
        from mlserver.cli import main

        sys.argv = ["mlserver", "start", folder]
        main()
