"""Train the reader: pages made by processes, one learning-rate cycle, a score on pages from held-out digits."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np

from mnistkit.core import keras_backend as backends
from mnistkit.core.contract import weights_sha256
from mnistkit.core.errors import InputError
from mnistkit.core.files import check_writable, replacing, write_json
from mnistkit.core.keras_files import load_model, weights_of
from mnistkit.digits.reader.batches import Batches, Book, batch_of
from mnistkit.digits.reader.ink import Fonts
from mnistkit.digits.reader.score import Score

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnistkit.digits.data import Dataset
    from mnistkit.digits.reader.settings import ReaderSettings

HELD_OUT: Final = 5000
"""The last training images make the pages of the score, and no others."""
_PEAK_RATE: Final = 3e-3
_LOWER: Final = 0.15  # of that, for a net that has learned already
_WEIGHT_DECAY: Final = 0.01
_RISE: Final = 0.05  # of the steps
_TOLD_EACH: Final = 10.0  # seconds


def train_reader(
    settings: ReaderSettings, *, data: Dataset, out: str | os.PathLike[str], log: TextIO | None = None
) -> dict[str, Any]:
    """Train, score, and write ``OUT.keras`` and ``OUT.train.json``.

    Args:
        settings: How.
        data: Images of single digits; only the training images are used.
        out: Where the model goes; ends in ``.keras``.
        log: Stream for the progress; ``None`` for silence.

    Returns:
        The provenance.

    Raises:
        InputError: ``out`` has another suffix.
        OutputError: The files cannot be written.
    """
    path = Path(out)
    if path.suffix != ".keras":
        raise InputError(f"{path}: Keras' own format needs a name that ends in .keras")
    check_writable(path)
    keras = backends.load_keras()
    from mnistkit.digits.reader.net import build_reader

    here = backends.active_backend()
    _say(log, f"backend {here.name} {here.version}, Keras {here.keras_version}, device {here.device}")
    fonts = Fonts.of(None if settings.fonts is None else Path(settings.fonts))
    workers = settings.workers or max((os.cpu_count() or 2) - 1, 1)
    book = Book(
        data.x_train[:-HELD_OUT], data.y_train[:-HELD_OUT], fonts, settings.seed, settings.batch_size, settings.side
    )
    reduced = "cuda" in here.device.lower() or "gpu" in here.device.lower()
    policy = keras.config.dtype_policy()
    if reduced:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        learner = build_reader(seed=settings.seed)
        if settings.start is not None:
            learner.set_weights(load_model(settings.start).get_weights())
            for layer in learner.layers:
                layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    finally:
        keras.config.set_dtype_policy(policy)
    started = time.perf_counter()
    with Batches(book, workers=workers) as batches:
        history = _fit(learner, batches.take, settings, log)
    seconds = time.perf_counter() - started
    model = build_reader(seed=settings.seed)
    model.set_weights(learner.get_weights())
    score = score_pages(model, data, fonts=fonts, pages=settings.pages, seed=settings.seed + 1)
    provenance: dict[str, Any] = {
        "model": "reader",
        "backend": dataclasses.asdict(here),
        "settings": dataclasses.asdict(settings) | {"steps": history[-1]["step"] if history else 0},
        "hyperparameters": {"optimizer": "adamw", "peak_learning_rate": _PEAK_RATE, "weight_decay": _WEIGHT_DECAY},
        "fonts": [Path(file).name for file in (*fonts.hand, *fonts.printed)],
        "data": {"name": data.name, "sha256": data.sha256},
        "history": history,
        "score": score.as_json(),
        "seconds": {"training": round(seconds, 1), "workers": workers},
        "weights_sha256": weights_sha256(weights_of(model)),
    }
    with replacing(path) as temporary:
        model.save(temporary)
    write_json(path.with_suffix(".train.json"), provenance)
    return provenance


def _fit(model: Any, take: Callable[[], Any], settings: ReaderSettings, log: TextIO | None) -> list[dict[str, Any]]:
    keras = backends.load_keras()
    from mnistkit.digits.reader.loss import reader_loss

    peak = _PEAK_RATE if settings.start is None else _PEAK_RATE * _LOWER
    optimizer = keras.optimizers.AdamW(peak / 20, weight_decay=_WEIGHT_DECAY, global_clipnorm=5.0)
    model.compile(optimizer=optimizer, loss=_as_loss(reader_loss), jit_compile=False)
    history: list[dict[str, Any]] = []
    started = told = time.perf_counter()
    losses: list[float] = []
    step = 0
    while step < settings.steps:
        done = step / settings.steps
        if settings.minutes is not None:
            done = max(done, (time.perf_counter() - started) / (60 * settings.minutes))
        if done >= 1:
            break
        optimizer.learning_rate = peak * _cycle(done)
        pixels, boxes = take()
        losses.append(float(model.train_on_batch(pixels, boxes)))
        step += 1
        now = time.perf_counter()
        if now - told > _TOLD_EACH or step == settings.steps:
            seconds = now - started
            history.append({"step": step, "loss": round(float(np.mean(losses)), 4), "seconds": round(seconds, 1)})
            speed = step * settings.batch_size / seconds
            _say(log, f"step {step}  {done:.0%}  loss {history[-1]['loss']:.4f}  {speed:.0f} pages/s")
            told, losses = now, []
    history.append(
        {
            "step": step,
            "loss": round(float(np.mean(losses)), 4) if losses else None,
            "seconds": round(time.perf_counter() - started, 1),
        }
    )
    return history


def _as_loss(function: Callable[[Any, Any], Any]) -> Any:
    keras = backends.load_keras()

    class ReaderLoss(keras.losses.Loss):  # type: ignore[name-defined]  # known only once Keras is loaded
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return function(y_true, y_pred)

    return ReaderLoss(name="reader_loss")


def _cycle(done: float) -> float:
    """Up, then down along a cosine: a share of the peak."""
    if done < _RISE:
        return 0.05 + 0.95 * done / _RISE
    return 0.5 * (1 + math.cos(math.pi * (done - _RISE) / (1 - _RISE))) + 1e-3


def score_pages(model: Any, data: Dataset, *, fonts: Fonts, pages: int, seed: int, batch: int = 20) -> Score:
    """Read pages made from the held-out training images."""
    book = Book(data.x_train[-HELD_OUT:], data.y_train[-HELD_OUT:], fonts, seed, batch)
    maker, score = book.maker(), Score()
    for number in range(max(pages // batch, 1)):
        pixels, boxes = batch_of(maker, number, batch)
        maps = np.asarray(backends.load_keras().ops.convert_to_numpy(model(pixels, training=False)), np.float32)
        for one, wanted in zip(maps, boxes, strict=True):
            score.add(one, wanted)
    return score


def _say(log: TextIO | None, line: str) -> None:
    if log is not None:
        print(line, file=log, flush=True)
