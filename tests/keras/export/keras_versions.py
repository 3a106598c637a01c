"""Layers that younger versions of Keras brought: the oldest version tested here that has each.

``tox run -m keras-oldest`` and ``-m keras-next`` run the same table of cases with other versions. The cases of a layer
that a version lacks are left out by this table; a layer that is missing for any other reason fails.
"""

import keras

VERSION = tuple(int(part) for part in keras.__version__.split(".")[:2])

LAYERS_SINCE = {
    **{f"Adaptive{kind}Pooling{n}D": (3, 13) for kind in ("Average", "Max") for n in (1, 2, 3)},
    "ContrastLimitedAdaptiveHistogramEqualization": (3, 15),
    "Mosaic": (3, 16),
    "TernaryDense": (3, 16),
}


def lacks_layer(name):
    """Whether this version of Keras is older than the layer."""
    return LAYERS_SINCE.get(name, (3, 12)) > VERSION
