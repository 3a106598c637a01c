"""Layers that younger versions of Keras brought: the oldest version tested here that has each.

``tox run -m keras-oldest`` and ``-m keras-next`` run the same table of cases with other versions. The cases of a layer
that a version lacks are left out by this table; a layer that is missing for any other reason fails.
"""

from importlib import import_module

import keras

VERSION = tuple(int(part) for part in keras.__version__.split(".")[:2])

LAYERS_SINCE = {
    **{f"Adaptive{kind}Pooling{n}D": (3, 13) for kind in ("Average", "Max") for n in (1, 2, 3)},
    "ContrastLimitedAdaptiveHistogramEqualization": (3, 15),
    "Mosaic": (3, 16),
    "TernaryDense": (3, 16),
}


# Older versions cut strided transposed convolutions with padding "same" at another edge on PyTorch than on the other
# backends, and warn about it. The exporter writes the answer of the others; its check then refuses the file.
SHIFTED_TRANSPOSE = keras.backend.backend() == "torch" and not hasattr(
    import_module("keras.src.backend.common.backend_utils"), "compute_conv_transpose_output_crops_for_torch"
)


def lacks_layer(name):
    """Whether this version of Keras is older than the layer."""
    return LAYERS_SINCE.get(name, (3, 12)) > VERSION
