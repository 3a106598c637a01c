"""Spectra: a short-time Fourier transform as one convolution with a fixed kernel, computed in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from mnistkit.export.native.graph import Array
from mnistkit.export.native.registry import UnsupportedOp, register_decomposition, register_layer_decomposition


def window_of(window: Any, length: int) -> Array:
    """Return a window of ``length``: periodic Hann or Hamming by name, ones for None, or the numbers given."""
    if window is None:
        return np.ones(length)
    if not isinstance(window, str):
        return np.asarray(ops.convert_to_numpy(window), "float64")
    phase = 2 * np.pi * np.arange(length) / length
    if window == "hann":
        return np.asarray(0.5 - 0.5 * np.cos(phase))
    if window == "hamming":
        return np.asarray(0.54 - 0.46 * np.cos(phase))
    raise UnsupportedOp(f"the window {window!r} has no translation; use 'hann', 'hamming' or an array")


def transform(x: Any, *, sequence_length: int, sequence_stride: int, fft_length: int, window: Any, center: bool) -> Any:
    """Express Keras' ``stft``: real and imaginary part, each ``(..., frames, fft_length // 2 + 1)``."""
    lead = tuple(x.shape[:-1])
    if center:
        pads = [[0, 0] for _ in lead] + [[fft_length // 2, fft_length // 2]]
        x = ops.pad(x, pads, mode="reflect")
    left = (fft_length - sequence_length) // 2
    weights = np.zeros(fft_length)
    weights[left : left + sequence_length] = window_of(window, sequence_length)
    bins = fft_length // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(fft_length), np.arange(bins) % fft_length) / fft_length
    kernel = np.concatenate([weights[:, None] * np.cos(angle), -weights[:, None] * np.sin(angle)], axis=1)
    flat = ops.reshape(x, (-1, x.shape[-1], 1))
    out = ops.conv(
        flat,
        kernel[:, None, :].astype("float32"),
        strides=sequence_stride,
        padding="valid",
        data_format="channels_last",
    )
    out = ops.reshape(out, (*lead, out.shape[1], 2 * bins))
    return out[..., :bins], out[..., bins:]


@register_decomposition("STFT")
def stft(op: Any, x: Any) -> Any:
    """``keras.ops.stft``."""
    return transform(
        x,
        sequence_length=op.sequence_length,
        sequence_stride=op.sequence_stride,
        fft_length=op.fft_length,
        window=op.window,
        center=op.center,
    )


@register_layer_decomposition("MelSpectrogram")
def mel_spectrogram(layer: Any, inputs: Any, **_: Any) -> Any:
    """Power on the mel scale, in decibels when asked."""
    real, imag = transform(
        ops.cast(inputs, "float32"),
        sequence_length=layer.sequence_length,
        sequence_stride=layer.sequence_stride,
        fft_length=layer.fft_length,
        window=layer.window,
        center=True,
    )
    power = ops.power(ops.sqrt(ops.add(ops.square(real), ops.square(imag))), float(layer.mag_exp))
    mel = ops.matmul(power, mel_matrix(layer))
    if layer.power_to_db:
        reference = 10.0 * np.log10(max(abs(float(layer.ref_power)), layer.min_power))
        decibels = ops.multiply(ops.log10(ops.maximum(mel, layer.min_power)), 10.0)
        decibels = ops.subtract(decibels, float(reference))
        mel = ops.maximum(decibels, ops.subtract(ops.max(decibels), float(layer.top_db)))
    return ops.cast(ops.swapaxes(mel, -1, -2), layer.compute_dtype)


def mel_matrix(layer: Any) -> Array:
    """Return the float32 ``(fft_length // 2 + 1, num_mel_bins)`` triangles, as Keras' layer documents them."""

    def mel(frequency: Any) -> Any:
        return 1127.0 * np.log(1.0 + np.asarray(frequency, "float64") / 700.0)

    bins = layer.fft_length // 2 + 1
    frequencies = mel(np.linspace(0.0, layer.sampling_rate / 2.0, bins)[1:])[:, None]
    edges = np.linspace(mel(layer.min_freq), mel(layer.max_freq), layer.num_mel_bins + 2)
    lower, centre, upper = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
    rising = (frequencies - lower) / (centre - lower)
    falling = (upper - frequencies) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.pad(triangles, [[1, 0], [0, 0]]).astype("float32")
