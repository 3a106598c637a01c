"""Gradients at 0 and infinity as TensorFlow's kernels compute them, also in programs that XLA compiles.

The kernels for the gradients of square roots and reciprocals return 0 where the gradient that arrives is 0; XLA
multiplies it by infinity, which is NaN. A row of zeros in ``keras.ops.normalize`` is enough. The gradient of ``selu``
at 0 is the limit from the right in one and from the left in the other.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mnistkit.core.thread_patches import Patch, ThreadPatches
from mnistkit.training.tensorflow.hooks import GRADIENTS, SELU_GRADIENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SELU_SCALE = 1.0507009873554804934193349852946


class _Tracing:
    suspended = False


_PATCHES: ThreadPatches[_Tracing] = ThreadPatches()


@contextlib.contextmanager
def gradients_of_kernels() -> Iterator[None]:
    """Trace gradients within the block, in this thread, that are the kernels' also under XLA."""
    with _PATCHES.act(_Tracing(), _patches):
        yield


def _patches() -> list[Patch]:
    at_zero = [Patch(*hook.owner(), _zero_where_none_arrives) for hook in GRADIENTS]
    return [*at_zero, Patch(*SELU_GRADIENT.owner(), _from_the_right)]


def _zero_where_none_arrives(
    _: _Tracing, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    arriving = args[1]
    return tf.where(tf.equal(arriving, 0), tf.zeros_like(arriving), original(*args, **kwargs))


def _from_the_right(_: _Tracing, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    arriving, outputs = args
    return tf.where(tf.equal(outputs, 0), arriving * _SELU_SCALE, original(*args, **kwargs))
