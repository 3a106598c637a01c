"""The order in which an epoch visits its samples: one rule for every backend.

It is drawn from NumPy, so that a seed means the same batches whatever framework trains, and it depends on the seed and
the number of the epoch alone, so that a run resumed with ``initial_epoch`` goes on with the batches it would have had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt


def epoch_order(n: int, *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return the sample indices of one epoch, each of 0..n-1 once.

    Args:
        n: number of samples, at least 0.
        seed: any integer from 0 up.
        epoch: number of the epoch, from 0, as ``initial_epoch`` counts.

    Returns:
        int64 array of shape ``(n,)``. The i-th batch of size b is ``order[i * b : (i + 1) * b]``.

    Raises:
        InputError: a negative ``n``, ``seed`` or ``epoch``.
    """
    for name, value in (("n", n), ("seed", seed), ("epoch", epoch)):
        if value < 0:
            raise InputError(f"{name} is {value}: give an integer from 0 up")
    order: npt.NDArray[np.int64] = np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64, copy=False)
    return order
