"""The tutorial's model on data from elsewhere, and with a callback that logs every batch: ways of benchmarks/train.py.

A way is ``FITTED, WHAT``: ``mnistkit.fit``, ``plain fit`` or ``source alone``, and a kind of source or of hook. The
source alone is a loop over its batches that copies each into one buffer: no training on this source can take less.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
from typing import Any

import numpy as np
import train_ways
from train_loops import BATCH, SEED

SOURCES = ("arrays", "PyDataset", "generator", "tf.data", "DataLoader", "memmap")
HOOKS = ("log", "log every 50")
FITTED = ("mnistkit.fit", "plain fit")
ALONE = "source alone"


def ways(sources: list[str] | None, *, hook: bool) -> tuple[str, ...]:
    """List the ways to run; ``arrays`` is always among them, since the others are compared with it."""
    chosen = [] if sources is None else (sources or SOURCES)
    kinds = dict.fromkeys(["arrays", *chosen, *(HOOKS if hook else ())])
    of_sources = [kind for kind in chosen if kind != "arrays"]
    return tuple(
        f"{fitted}, {kind}" for kind in kinds for fitted in (*FITTED, *([ALONE] if kind in of_sources else []))
    )


def run(way: str, x: np.ndarray, labels: np.ndarray, *, model: str, epochs: int) -> Any:
    """Train; return the seconds of each epoch, and a loss."""
    from mnistkit.training import fit

    fitted, _, kind = way.partition(", ")
    y = train_ways.one_hot(labels)
    given, options = source(kind, x, y)
    if fitted == ALONE:
        return alone(given, len(x) // BATCH, epochs=epochs)
    made = train_ways.keras_model(model)

    def train(**settings: Any) -> Any:
        settings |= options
        if len(given) == 1:
            settings.pop("batch_size", None)
        settings["callbacks"] = [*settings["callbacks"], *hooks(kind)]
        if fitted == "plain fit":
            return made.fit(*given, **settings)
        return fit(made, *given, seed=SEED, **settings)

    return train_ways.timed_fit(train, epochs=epochs)


def alone(given: tuple[Any, ...], steps: int, *, epochs: int) -> Any:
    """Iterate over a source, for arrays over batches of them, and copy each batch; return the seconds of each epoch."""
    rows = (slice(i * BATCH, (i + 1) * BATCH) for _ in range(epochs) for i in range(steps))
    buffers: list[np.ndarray] = []
    ends = [train_ways.now()]
    for _ in range(epochs):
        batches = ([array[part] for array in given] for part in rows) if len(given) > 1 else given[0]
        for batch in itertools.islice(batches, steps):
            if not buffers:
                buffers = [np.array(part) for part in batch]
            for buffer, part in zip(buffers, batch, strict=True):
                buffer[:] = part
        ends.append(train_ways.now())
    return train_ways.between(ends), 0.0


def source(kind: str, x: np.ndarray, y: np.ndarray) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what to train on, and arguments that go with it. All are as fast as they can be."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(x) // BATCH

        def __getitem__(self, i: int) -> Any:
            return x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH]

    def generator() -> Any:
        batches = Batches()
        while True:
            yield from (batches[i] for i in range(len(batches)))

    if kind == "PyDataset":
        return (Batches(),), {}
    if kind == "generator":
        return (generator(),), {"steps_per_epoch": len(x) // BATCH}
    if kind == "tf.data":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
        return (data,), {}
    if kind == "DataLoader":
        import torch

        class Whole(torch.utils.data.Dataset):
            """Gives a batch at once; one sample after the other would be the loader's time, not the trainer's."""

            def __len__(self) -> int:
                return len(x) // BATCH

            def __getitem__(self, i: int) -> Any:
                rows = slice(i * BATCH, (i + 1) * BATCH)
                return torch.from_numpy(x[rows]), torch.from_numpy(y[rows])

        return (torch.utils.data.DataLoader(Whole(), batch_size=None),), {}
    if kind == "memmap":
        with tempfile.TemporaryFile() as file:
            file.write(x.tobytes())
            file.flush()
            return (np.memmap(file, dtype=x.dtype, mode="r", shape=x.shape), y), {}
    return (x, y), {}


def hooks(kind: str) -> list[Any]:
    """Return the callbacks of a kind."""
    import keras

    class Log(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.losses: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - the hook's signature
            self.losses.append(logs["loss"])

    if kind == "log every 50":
        Log.batch_hook_interval = 50  # type: ignore[attr-defined]
    return [Log()] if kind in HOOKS else []


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Markdown lines; processor time in parentheses, medians over the rounds."""
    heads = ("backend", "source or hook", "further epoch, s", "plain fit, s", "times faster", "time, arrays = 1")
    heads = (*heads, "source alone, s", "time, the longer of arrays and source alone = 1")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    good = [row for row in rows if "failed" not in row]
    found: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in good:
        fitted, _, kind = row["way"].partition(", ")
        same = [one for one in good if (one["backend"], one["way"]) == (row["backend"], row["way"])]
        key = (row["backend"], kind, fitted)
        found[key] = tuple(statistics.median(one[name] for one in same) for name in ("steady", "processor"))  # type: ignore[assignment]
    for (backend, kind, fitted), ours in found.items():
        if fitted != "mnistkit.fit":
            continue
        plain, arrays = found.get((backend, kind, "plain fit")), found.get((backend, "arrays", fitted))
        bare = found.get((backend, kind, ALONE))
        floor = bare and arrays and (max(bare[0], arrays[0]), max(bare[1], arrays[1]))
        cells = [ours, plain, _over(plain, ours), _over(ours, arrays), bare, _over(ours, floor)]
        lines.append(f"| {backend} | {kind} | {' | '.join(map(_pair, cells))} |")
    lines += [f"| {row['backend']} | {row['way']} | {row['failed']} | | | | | |" for row in rows if "failed" in row]
    return lines


def _over(above: tuple[float, float] | None, below: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if above is None or below is None else (above[0] / below[0], above[1] / below[1])


def _pair(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.2f} ({pair[1]:.2f})"
