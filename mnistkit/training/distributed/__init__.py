"""Training in several processes, on one machine or many, by each framework's own means.

    from mnistkit.training import connect, fit
    connect()                     # first of all; the launcher's variables say where the others are
    model = ...
    fit(model, x, y, batch_size=256)  # the batch of all processes together

``variables`` reads what a launcher says, ``group`` holds what the processes tell each other, ``agreement`` what they
must agree on, ``support`` what cannot be trained in parts. Each backend has two modules: ``wire``, the connection, and
``distributed``, its program with the gradients of all processes.
"""

from mnistkit.training.distributed.connection import connect
from mnistkit.training.distributed.group import Group

__all__ = ["Group", "connect"]
