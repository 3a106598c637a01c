"""Layers around layers, and layers that do nothing at inference."""

from __future__ import annotations

from typing import Any

from keras import ops

from mnistkit.export.native.keras_hooks import takes_argument
from mnistkit.export.native.ops_backend import symbolic_backend
from mnistkit.export.native.records import map_in_order
from mnistkit.export.native.registry import register_layer_decomposition


@register_layer_decomposition("TimeDistributed")
def time_distributed(layer: Any, inputs: Any, mask: Any = None, **_: Any) -> Any:
    """Fold time into the batch, call the layer once, unfold: at inference rows do not see each other."""
    batch, time = inputs.shape[0], inputs.shape[1]
    folded = ops.reshape(inputs, (batch * time, *inputs.shape[2:]))
    kwargs = {}
    if mask is not None and takes_argument(layer.layer, "mask"):
        kwargs["mask"] = ops.reshape(mask, (batch * time, *mask.shape[2:]))
    outputs = layer.layer(folded, **kwargs)
    return map_in_order(lambda _, x: ops.reshape(x, (batch, time, *x.shape[1:])), outputs)


@register_layer_decomposition("Bidirectional")
def bidirectional(layer: Any, sequences: Any, initial_state: Any = None, mask: Any = None, **_: Any) -> Any:
    """Both directions, the second one turned round, merged."""
    half = len(initial_state) // 2 if initial_state is not None else 0
    forward_state, backward_state = (initial_state[:half], initial_state[half:]) if half else (None, None)
    kwargs = {"mask": mask} if takes_argument(layer.forward_layer, "mask") else {}
    y = layer.forward_layer(sequences, initial_state=forward_state, **kwargs)
    y_rev = layer.backward_layer(sequences, initial_state=backward_state, **kwargs)
    states: tuple[Any, ...] = ()
    if layer.return_state:
        states = tuple(y[1:]) + tuple(y_rev[1:])
        y, y_rev = y[0], y_rev[0]
    y, y_rev = ops.cast(y, layer.compute_dtype), ops.cast(y_rev, layer.compute_dtype)
    if layer.return_sequences:
        y_rev = ops.flip(y_rev, axis=1)
    if layer.merge_mode is None:
        return (y, y_rev, *states)
    merge = {
        "concat": lambda: ops.concatenate([y, y_rev], axis=-1),
        "sum": lambda: ops.add(y, y_rev),
        "ave": lambda: ops.divide(ops.add(y, y_rev), 2),
        "mul": lambda: ops.multiply(y, y_rev),
    }
    output = merge[layer.merge_mode]()
    return (output, *states) if layer.return_state else output


@register_layer_decomposition("BaseImagePreprocessingLayer")
def preprocess(layer: Any, data: Any, **_: Any) -> Any:
    """Images as at inference: no random numbers are drawn, so augmentation leaves them alone."""
    with symbolic_backend(layer):
        if isinstance(data, dict):
            return layer.call(data, training=False)
        images = ops.convert_to_tensor(data)
        return layer.transform_images(images, transformation=None, training=False)


@register_layer_decomposition("AlphaDropout", "GaussianDropout", "GaussianNoise")
def noise(_: Any, inputs: Any, **__: Any) -> Any:
    """Nothing, at inference."""
    return inputs
