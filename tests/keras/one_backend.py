"""Which tests need one backend alone, so that the matrix stays short.

What no backend can change (signals to a process, files on a full disk, the layout of the package) and the further cases
of one mechanism run under PyTorch, whose tests are the fastest. The others skip them and say so.
"""

import keras
import pytest

FEW = keras.backend.backend() != "torch"
"""Whether this backend runs few cases of a mechanism, and PyTorch all of them."""

REASON = "no backend changes this; run under torch"
once = pytest.mark.skipif(FEW, reason=REASON)


def few(cases, *, everywhere):
    """The cases of a mechanism: those named run under every backend, the others under PyTorch alone."""
    unknown = set(everywhere) - set(cases)
    assert not unknown, unknown
    return [case if case in everywhere else pytest.param(case, marks=once) for case in cases]
