"""What ``model.fit`` takes as batches instead of arrays."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any


def is_source(x: Any) -> bool:
    """Tell whether ``model.fit`` takes something as batches: a data set, a loader, a generator, or an iterator."""
    import keras

    kinds = [base.__name__ for base in type(x).__mro__]
    is_set = isinstance(x, keras.utils.PyDataset) or "DatasetV2" in kinds or "DataLoader" in kinds
    return is_set or isinstance(x, Iterator)


def as_source(x: Any) -> Any:
    """Return what Keras takes for a source: of iterators it takes generators alone."""
    is_other = isinstance(x, Iterator) and not isinstance(x, types.GeneratorType)
    return (batch for batch in x) if is_other else x


def is_shuffled(x: Any, *, shuffle: Any) -> bool:
    """Tell whether to pass ``shuffle`` on: only finite ``PyDataset`` objects are shuffled; of others Keras warns."""
    import keras

    return isinstance(x, keras.utils.PyDataset) and x.num_batches is not None and bool(shuffle)
