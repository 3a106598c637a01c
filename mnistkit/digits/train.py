"""Train the tutorial's model on the Keras backend of your choice: ``python -m mnistkit.train``.

The file reads in the order of the story: settings, data, model, epochs, test, files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from mnistkit.core import keras_backend as backends
from mnistkit.core.contract import weights_sha256
from mnistkit.core.errors import InputError, ModelFileError
from mnistkit.core.files import check_writable, replacing, write_json
from mnistkit.core.keras_files import load_model, weights_of
from mnistkit.digits import processes
from mnistkit.digits.contract import NAME
from mnistkit.digits.data import Dataset, load_data
from mnistkit.digits.model import build_model, random_state, restore_random_state
from mnistkit.digits.optimizers import make_optimizer
from mnistkit.digits.settings import AUGMENTED, OF_ANY_MODEL, Settings
from mnistkit.training.distributed.variables import launcher_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mnistkit.training.distributed import Group

__all__ = ["DEFAULT_OUT", "Settings", "TrainReport", "train"]

DEFAULT_OUT = Path("exports") / "mnist.keras"
_TEST_BATCH = 512
_NOTE = "mnistkit.json"  # the archive member that makes a checkpoint out of a .keras file


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training run did.

    Attributes:
        model: The trained ``keras.Model``.
        path: The ``.keras`` file.
        provenance: What was written to the JSON beside it.
        is_first: Whether this process wrote them; of several processes the first does.
    """

    model: Any
    path: Path
    provenance: dict[str, Any]
    is_first: bool = True

    def __repr__(self) -> str:
        test = self.provenance["test"]
        return f"TrainReport({str(self.path)!r}, test loss {test['loss']:.4f}, test accuracy {test['accuracy']:.4f})"


def train(
    settings: Settings | None = None,
    *,
    out: str | os.PathLike[str] = DEFAULT_OUT,
    data: Dataset | None = None,
    backend: str | None = None,
    resume: bool = False,
    log: TextIO | None = None,
    on_epoch: Callable[[Mapping[str, Sequence[float]]], None] | None = None,
    on_checkpoint: Callable[[Path | None], None] | None = None,
    talk: TextIO | None = None,
) -> TrainReport:
    """Train a model, test it, and write ``OUT.keras`` and ``OUT.train.json``, each completely or not at all.

    Where a launcher started several processes, all train this one model together, and process 0 writes.

    Args:
        settings: What to train; the tutorial by default.
        out: Where the model goes.
        data: The images; the embedded MNIST by default.
        backend: Keras backend; see `mnistkit.core.keras_backend`.
        resume: Go on after the last epoch that an interrupted run with the same settings finished.
        log: Stream for the tutorial's steps and the live progress; ``None`` for silence.
        on_epoch: Is given the whole history after each epoch, when its checkpoint is written, and once before a resumed
            run goes on: values of all epochs by metric.
        on_checkpoint: Is called in every process after each epoch, with the checkpoint in the one that wrote it, with
            ``None`` in the others.
        talk: The old name of ``log``, which goes in the next release.

    Raises:
        InputError: A setting is out of range or unknown.
        BackendError: The backend cannot be used.
        ModelFileError: The checkpoint to resume from does not fit the settings.
        OutputError: The files cannot be written.
        DistributedError: The processes that a launcher started cannot meet, disagree, or one of them went away.
    """
    if talk is not None:
        warnings.warn("train(talk=...) is now train(log=...)", DeprecationWarning, stacklevel=2)
        log = log or talk
    settings = settings or Settings()
    path = Path(out)
    if path.suffix != ".keras":
        raise InputError(f"{path}: Keras' own format needs a name that ends in .keras")
    if launcher_of() is None:
        check_writable(path)  # before anything is loaded
    keras = backends.load_keras(backend)
    group, is_first = processes.meet(path)  # the others of this run, where a launcher started several
    if not is_first:
        log = on_epoch = None
    backends.enable_determinism(settings.seed)
    # Built before anything is printed: a name that is not known is an error at once.
    model = build_model(
        settings.model, hidden=settings.hidden_layers, activation=settings.activation, seed=settings.seed
    )
    start = _start(model, settings.start)
    if settings.model != AUGMENTED:
        _compile(model, settings)
    here = backends.active_backend()
    _say(log, f"backend {here.name} {here.version}, Keras {here.keras_version}, device {here.device}")

    data = data or load_data()
    if group is not None:
        _say(log, f"{group.count} processes, each with its part of every batch of {settings.batch_size}")
        processes.agree(group, settings, data=data, resume=resume)
    (x_train, y_train), (x_test, y_test) = (
        (_inputs(images), keras.utils.to_categorical(labels, 10))
        for images, labels in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    )
    _say(log, f"data {data.name}: {len(x_train)} training and {len(x_test)} test images")
    _say(log, f"images {list(data.x_train.shape)} uint8 -> {list(x_train.shape)} float32 in [0, 1]")
    _say(log, f"labels {list(data.y_train.shape)} -> one-hot {list(y_train.shape)}")

    checkpoint = path.with_suffix(".resume.keras")
    progress = _Progress.start(settings, data)
    if resume:
        model, progress = _resume(model, progress, checkpoint, group, settings=settings, data=data, log=log)
        if on_epoch is not None and progress.epochs_done:
            on_epoch(progress.history)
    if log is not None:
        model.summary(print_fn=lambda line: _say(log, line))

    started = time.perf_counter()
    with _redirected(log):
        temperature = _fit(
            model,
            x_train,
            y_train,
            data=data,
            settings=settings,
            progress=progress,
            checkpoint=checkpoint,
            log=log,
            on_epoch=on_epoch,
            on_checkpoint=on_checkpoint,
            writes=is_first,
        )
    seconds = time.perf_counter() - started
    provenance: dict[str, Any] = {
        "profile": NAME,
        "model": settings.model,
        "backend": dataclasses.asdict(here),
        "settings": _settings(settings),
        **start,
        "data": progress.data,
        "history": progress.history,
        "test": _test(model, x_test, y_test, alone=group is None),
        "seconds": {"training": round(seconds, 3), "resumed": resume and progress.epochs_before > 0},
        "weights_sha256": weights_sha256(weights_of(model)),
    }
    if temperature is not None:
        provenance["temperature"] = temperature  # in the weights already
    with processes.ending_together(group):
        if group is not None:
            provenance["processes"] = processes.communication(model, group)
        if is_first:
            _write(model, path, provenance, checkpoint)
    return TrainReport(model, path, provenance, is_first)


def _start(model: Any, file: str | None) -> dict[str, dict[str, str]]:
    """Give a new model the weights of a trained one, where there is one; what the provenance tells of it.

    Raises:
        ModelFileError: The file cannot be read, or holds another model.
    """
    if file is None:
        return {}
    trained = load_model(file)
    wanted, found = ([tuple(one.shape) for one in each.weights] for each in (model, trained))
    if wanted != found:
        raise ModelFileError(f"{file}: not a {model.name} as this version builds it; leave --start out")
    model.set_weights(trained.get_weights())
    return {"start": {"file": Path(file).name, "weights_sha256": weights_sha256(weights_of(model))}}


def _resume(
    model: Any,
    progress: _Progress,
    path: Path,
    group: Group | None,
    *,
    settings: Settings,
    data: Dataset,
    log: TextIO | None,
) -> tuple[Any, _Progress]:
    """The model and progress of a checkpoint, the given ones where there is none."""
    with processes.checkpoint_of_first(path, group) as readable:
        if readable is None:
            _say(log, f"nothing to resume at {path}; starting from the first epoch")
            return model, progress
        model, progress = _load_checkpoint(readable, settings, data)
    _say(log, f"resuming after epoch {progress.epochs_done} from {path}")
    return model, progress


def _write(model: Any, path: Path, provenance: dict[str, Any], checkpoint: Path) -> None:
    with replacing(path) as temporary:
        model.save(temporary)
    write_json(path.with_suffix(".train.json"), provenance)
    checkpoint.unlink(missing_ok=True)


def _test(model: Any, x: NDArray[np.float32], y: NDArray[Any], *, alone: bool) -> dict[str, float]:
    if alone:
        loss, accuracy = (float(value) for value in model.evaluate(x, y, batch_size=_TEST_BATCH, verbose=0))
    else:
        loss, accuracy = processes.test(model, x, y, batch_size=_TEST_BATCH)
    return {"loss": loss, "accuracy": accuracy}


def _settings(settings: Settings) -> dict[str, Any]:
    """What was in force, for the provenance."""
    everything = settings.as_json()
    if settings.model != AUGMENTED:
        return everything
    from mnistkit.digits.train_cnn import HYPERPARAMETERS, peak_rate

    rate = peak_rate(has_learned=settings.start is not None)
    return {**{name: everything[name] for name in OF_ANY_MODEL}, **HYPERPARAMETERS, "peak_learning_rate": rate}


def _inputs(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _compile(model: Any, settings: Settings) -> None:
    optimizer = make_optimizer(
        settings.optimizer,
        learning_rate=settings.learning_rate,
        rho=settings.rho,
        epsilon=settings.epsilon,
        decay=settings.decay,
    )
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])


@dataclass(slots=True)
class _Progress:
    """How far a run has come; what a checkpoint remembers beside the model."""

    settings: dict[str, Any]
    data: dict[str, Any]
    history: dict[str, list[float]]
    epochs_done: int = 0
    epochs_before: int = 0
    random_state: list[list[int]] = dataclasses.field(default_factory=list)

    @classmethod
    def start(cls, settings: Settings, data: Dataset) -> _Progress:
        about = {"name": data.name, "sha256": data.sha256, "labels": list(data.labels)}
        return cls(settings.as_json(), about, {})


def _fit(
    model: Any,
    x: NDArray[np.float32],
    y: NDArray[Any],
    *,
    data: Dataset,
    settings: Settings,
    progress: _Progress,
    checkpoint: Path,
    log: TextIO | None,
    on_epoch: Callable[[Mapping[str, Sequence[float]]], None] | None,
    on_checkpoint: Callable[[Path | None], None] | None,
    writes: bool,
) -> float | None:
    """Run the epochs that are missing; the temperature of a calibrated model comes back."""
    from mnistkit.training import fit

    keras = backends.load_keras()

    def remember(epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            progress.history.setdefault(name, []).append(float(value))
        progress.epochs_done = epoch + 1
        progress.random_state = random_state(model)
        if writes:
            _save_checkpoint(model, checkpoint, progress)
        if on_epoch is not None:
            on_epoch(progress.history)
        if on_checkpoint is not None:
            on_checkpoint(checkpoint if writes else None)

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=remember)]
    verbose = 0 if log is None else (1 if log.isatty() else 2)
    if settings.model == AUGMENTED:
        from mnistkit.digits.train_cnn import fit_augmented

        return fit_augmented(
            model,
            data.x_train,
            data.y_train,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            initial_epoch=progress.epochs_done,
            has_learned=settings.start is not None,
            callbacks=callbacks,
            verbose=verbose,
        )
    if progress.epochs_done >= settings.epochs:
        return None
    fit(
        model,
        x,
        y,
        epochs=settings.epochs,
        initial_epoch=progress.epochs_done,
        batch_size=settings.batch_size,
        validation_split=settings.validation_split,
        callbacks=callbacks,
        seed=settings.seed,
        verbose=verbose,
    )
    return None


def _save_checkpoint(model: Any, path: Path, progress: _Progress) -> None:
    with replacing(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(_NOTE, json.dumps(dataclasses.asdict(progress)))


def _load_checkpoint(path: Path, settings: Settings, data: Dataset) -> tuple[Any, _Progress]:
    model = load_model(path, to_train=True)
    try:
        with zipfile.ZipFile(path) as archive:
            progress = _Progress(**json.loads(archive.read(_NOTE)))
    except (KeyError, ValueError, TypeError) as error:
        raise ModelFileError(f"{path}: not a checkpoint of mnistkit; remove it, or leave --resume out") from error
    wanted = _Progress.start(settings, data)
    earlier = {**Settings().as_json(), **progress.settings}  # a checkpoint may be older than a setting
    differing = [
        f"{key} {earlier.get(key)} -> {value}"
        for key, value in wanted.settings.items()
        if key != "epochs" and earlier.get(key) != value
    ]
    if progress.data != wanted.data:
        differing.append(f"data {progress.data['name']} -> {wanted.data['name']}")
    if differing:
        raise ModelFileError(f"{path}: made with other settings ({'; '.join(differing)}); leave --resume out")
    restore_random_state(model, progress.random_state)
    progress.epochs_before = progress.epochs_done
    progress.settings = wanted.settings
    return model, progress


def _say(log: TextIO | None, line: str) -> None:
    if log is not None:
        print(line, file=log, flush=True)


@contextlib.contextmanager
def _redirected(log: TextIO | None) -> Iterator[None]:
    """Keras writes its progress bar to stdout, which belongs to results."""
    if log is None:
        yield
        return
    with contextlib.redirect_stdout(log):
        yield
