"""The server: ``mnistkit serve``, or `run` from a program.

onnxruntime alone answers; nothing here imports Keras or a backend. Read the modules in this order: ``settings`` (every
flag), ``connection`` (bytes to requests, limits), ``service`` (requests to answers), ``infer`` and ``predict`` (the two
kinds of question), ``lane`` (batching), ``repository`` (models), ``server`` and ``workers`` (processes).
"""

from mnistkit.serve.run import run
from mnistkit.serve.settings import Settings

__all__ = ["Settings", "run"]
