"""The server as a Ray Serve application: each replica answers as ``mnistkit serve`` does.

    serve run mnistkit.serve.ray:app model=exports/mnist.onnx replicas=2
    mnistkit serve --ray --replicas 2 --model exports/mnist.onnx

Ray listens, chooses the replica, and replaces one that dies. Protocol, batching, queue and limits are those of
`mnistkit.serve.app`. Ray is imported when something is built, not before.
"""

from mnistkit.serve.ray.build import app, application
from mnistkit.serve.ray.start import run

__all__ = ["app", "application", "run"]
