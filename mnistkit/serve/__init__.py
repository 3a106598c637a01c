"""The server: ``mnistkit serve``, or `run` from a program.

onnxruntime alone answers; nothing here imports Keras or a backend. Granian speaks HTTP. Read the modules in this
order: ``settings`` (every flag), ``app`` (routes), ``access`` and ``limits``, ``receiving`` (bodies), ``protocol``
(requests to arrays to answers), ``pictures``, ``batcher``, ``models``, ``worker`` (one process), ``launcher`` (all of
them).
"""

from mnistkit.serve.launcher import run
from mnistkit.serve.settings import Settings

__all__ = ["Settings", "run"]
