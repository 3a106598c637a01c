"""Classify digits with an exported file; numpy and onnxruntime are all it needs.

>>> classifier = Classifier("exports/mnist.onnx")
>>> classifier.predict(images)[0].digit
7
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistkit.core.contract import read_labels
from mnistkit.core.errors import InputError, ModelFileError, NoDigitError
from mnistkit.core.runtime import Runtime, cast
from mnistkit.digits.contract import CLASSES, DIGITS, SIDE
from mnistkit.digits.plain_arrays import are_finite, may_be_dark_on_light, plain_rows
from mnistkit.digits.scaling import UNIT, Scaling, measure, read_scaling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from mnistkit.core.tensors import TensorInfo
    from mnistkit.digits.candidates import Candidate
    from mnistkit.digits.digit_string import DigitString
    from mnistkit.digits.pictures import Source

_PIXELS = SIDE * SIDE
_READ = "make an array with mnistkit.read_picture, which takes files, arrays and Pillow images of any size and polarity"
_DARK_ON_LIGHT = (
    "images: they look like dark ink on light paper; the model expects bright ink on black, as MNIST has it: "
    "give 255 - image (or 1 - image), or use mnistkit.read_picture"
)
_NOT_FINITE = "the model answers with NaN or infinity; export it again"
_TRIED = 100  # test images on which a file that says nothing of itself is tried
_BATCH = 4096  # images a run: large enough to be fast, small enough for any memory


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What one image was read as.

    Attributes:
        digit: Class number, 0 to 9.
        label: The class' name; the digit itself unless the model was trained on other labels.
        confidence: Probability of that class, in [0, 1].
        probabilities: float32 ``[10]``, not negative, summing to 1; read-only.
        labels: Names of the ten classes.
    """

    digit: int
    label: str
    confidence: float
    probabilities: NDArray[np.float32]
    labels: tuple[str, ...] = DIGITS

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The digit, and others that are at least a tenth as probable."""
        from mnistkit.digits.candidates import candidates_of

        return candidates_of(self.probabilities, self.labels)

    def __str__(self) -> str:
        return f"{self.label} ({100 * self.confidence:.1f} %)"

    def __repr__(self) -> str:
        return f"Prediction(digit={self.digit}, label={self.label!r}, confidence={self.confidence:.4f})"


def default_model() -> Path:
    """The model used when none is named: ``exports/mnist.onnx`` where it exists, else the one inside the package."""
    trained = Path("exports") / "mnist.onnx"
    return trained if trained.is_file() else Path(__file__).parent / "assets" / "mnist.onnx"


class Classifier:
    """Reads digits with an ONNX model; safe in threads, picklable, and usable after a fork.

    Takes files exported by mnistkit and foreign ones of the same kind: one image input of 784 numbers in any layout
    (flat, 28x28, channels first or last, free or fixed batch), one output of ten probabilities or logits. Takes the
    files of ``export --picture`` too, which have the steps from a picture to 28x28 inside.

    Args:
        model: Path of an ``.onnx`` file, its bytes, or a `Runtime` that has it open (which then keeps its device and
            threads); by default `default_model`.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or another that `mnistkit.Runtime` takes. A device asked
            for by name is used or refused.
        threads: Threads inside one operator; by default one for each processor this process may use.
        exact: Turn reduced-precision kernels (TF32) off, as the verification of an export does.
        scale: The largest number of the model's input: 1 for [0, 1], 255 for grey levels. By default what the file
            says; a file that says nothing is tried on a few test images, and a warning tells when it does not take
            [0, 1].
        provider_options: Options of the device's execution provider; see `mnistkit.Runtime`.

    Raises:
        InputError: ``scale`` is no positive number.
        ModelFileError: The file cannot be read, or is no classifier of 28x28 images into ten classes.
        DeviceError: The device is unknown, or was asked for by name and cannot be had.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Runtime | None = None,
        *,
        device: str = "auto",
        threads: int | None = None,
        exact: bool = False,
        scale: float | None = None,
        provider_options: Mapping[str, Any] | None = None,
    ) -> None:
        if scale is not None and not 0 < scale < math.inf:
            raise InputError(f"scale must be a positive number, 1 or 255 for most models, got {scale}")
        if isinstance(model, Runtime):
            self._runtime = model
        else:
            source = default_model() if model is None else model
            self._runtime = Runtime(
                source, device=device, threads=threads, exact=exact, provider_options=provider_options
            )
        if is_number_model(self._runtime):
            raise ModelFileError(
                f"{self._runtime.name}: reads whole pictures of digits by itself, for apps without mnistkit; give the "
                "classifier that it was made from"
            )
        self.takes_pictures = is_picture_model(self._runtime)
        """Whether the file itself takes pictures of any size, as ``export --picture`` writes it."""
        self._input = self._runtime.inputs[0] if self.takes_pictures else _image_input(self._runtime)
        self._output = "probabilities" if self.takes_pictures else _class_output(self._runtime).name
        self.labels: tuple[str, ...] = read_labels(self._runtime.metadata) or DIGITS
        """Names of the ten classes."""
        if len(self.labels) != CLASSES:
            raise ModelFileError(f"{self._runtime.name}: {len(self.labels)} labels for {CLASSES} classes")
        if scale is not None and self.takes_pictures:
            raise InputError(f"scale: {self._runtime.name} takes pictures of 0 to 255; leave it out")
        self._scaling = UNIT
        self._scaling = UNIT if self.takes_pictures else self._find_scaling(scale)
        self._is_logits = not self.takes_pictures and _gives_logits(self._raw(_probe()), self._runtime.name)
        self._plain_shape = self._find_plain_shape()
        self._name, self._outputs = self._input.name, (self._output,)

    def __repr__(self) -> str:
        accuracy = self._runtime.metadata.get("test_accuracy")
        told = f", test accuracy {accuracy}" if accuracy else ""
        return f"Classifier({self._runtime.name!r}, {self.providers[0]}{told})"

    def _find_scaling(self, scale: float | None) -> Scaling:
        if scale is not None:
            return Scaling(scale / 255)
        said = read_scaling(self._runtime.metadata)
        if said is not None or self._runtime.metadata or self.labels != DIGITS:
            return said or UNIT
        from mnistkit.digits.data import load_data

        data = load_data()
        found, shares = measure(
            lambda images: self._raw(images.reshape(len(images), -1)), data.x_test[:_TRIED], data.y_test[:_TRIED]
        )
        if found != UNIT:
            warnings.warn(
                f"{self._runtime.name}: takes numbers from {found} ({shares[found]:.0%} of {_TRIED} test images are "
                f"right, {shares[UNIT]:.0%} with 0 to 1); give scale= to say so",
                RuntimeWarning,
                stacklevel=3,
            )
        return found

    def _find_plain_shape(self) -> tuple[int, ...] | None:
        """The shape that the model wants, if it takes rows of [0, 1] as they are and answers with probabilities."""
        sizes = self._input.shape[1:]
        declared = {info.name: info for info in self._runtime.outputs}[self._output]
        is_plain = (
            not (self.takes_pictures or self._is_logits or isinstance(self._input.shape[0], int))
            and self._scaling == UNIT
            and self._input.dtype == declared.dtype == "float32"
            and len(declared.shape) == 2  # noqa: PLR2004  # batch and classes
        )
        return (-1, *(size if isinstance(size, int) else SIDE for size in sizes)) if is_plain else None

    @property
    def takes_unit_range(self) -> bool:
        """Whether the model itself takes numbers from 0 to 1."""
        return self._scaling == UNIT

    @property
    def metadata(self) -> dict[str, str]:
        """The file's ``mnistkit.`` entries, without the prefix; empty for foreign files."""
        return dict(self._runtime.metadata)

    @property
    def providers(self) -> tuple[str, ...]:
        """Execution providers that are really used, in order of preference."""
        return self._runtime.providers

    def probabilities(self, images: ArrayLike) -> NDArray[np.float32]:
        """Probabilities of the ten classes for each image.

        Args:
            images: One image ``(28, 28)`` or ``(784,)``, or a batch of them, with or without a channel axis.
                Floats must lie in [0, 1]. uint8 is divided by 255. Other integers are divided by 255 too, except in
                an image with no value above 1, which is taken as it is, like booleans.

        Returns:
            float32 ``[n, 10]``, not negative, each row summing to 1.

        Raises:
            InputError: Wrong shape, type or range; the message says what was expected and what was given.
        """
        if self._plain_shape is not None and type(images) is np.ndarray:
            rows = plain_rows(images, most=_BATCH)
            if rows is not None:
                if len(self._plain_shape) != 2:  # noqa: PLR2004  # rows, as they are
                    rows = rows.reshape(self._plain_shape)
                (found,) = self._runtime.run_outputs(self._outputs, {self._name: rows})
                if not are_finite(found):
                    raise ModelFileError(f"{self._runtime.name}: {_NOT_FINITE}")
                return found
        batch = as_images(images)
        if len(batch) == 0:
            return np.zeros((0, CLASSES), np.float32)
        if _are_dark_on_light(batch):
            warnings.warn(_DARK_ON_LIGHT, UserWarning, stacklevel=2)
        scores = self._raw(batch).astype(np.float64)
        if not np.isfinite(scores).all():
            raise ModelFileError(f"{self._runtime.name}: {_NOT_FINITE}")
        return (_softmax(scores) if self._is_logits else scores).astype(np.float32)

    def predict(self, images: ArrayLike) -> list[Prediction]:
        """Read each image; arguments and errors as for `probabilities`."""
        rows = self.probabilities(images)
        rows.setflags(write=False)  # each row is a view that is read-only too
        return [self._prediction(row, digit) for row, digit in zip(rows, rows.argmax(1).tolist(), strict=True)]

    def predict_picture(self, source: Source) -> Prediction:
        """Read the digit of one picture of any size and polarity.

        Args:
            source: As for `mnistkit.read_picture`: a file, its bytes, a uint8 array ``[h, w]`` or
                ``[h, w, channels]``, or a Pillow image.

        Raises:
            NoDigitError: Nothing is drawn on the picture.
            PictureError: The picture cannot be read.
            InputError: An array has the wrong type or shape.
        """
        return self.see_picture(source)[0]

    def see_picture(self, source: Source) -> tuple[Prediction, NDArray[np.float32]]:
        """As `predict_picture`, with the 28x28 image that the model saw, float32 in [0, 1]."""
        from mnistkit.digits.pictures import decode, name_of, read_picture

        if not self.takes_pictures:
            image28 = read_picture(source)
            return self.predict(image28)[0], image28
        found = self._runtime.run({self._input.name: np.ascontiguousarray(decode(source))})
        if not found["ink_fraction"] > 0:
            raise NoDigitError(f"{name_of(source)}: no digit found; nothing stands out from the background")
        row = found[self._output].copy()
        row.setflags(write=False)
        return self._prediction(row, int(row.argmax())), found["image28"]

    def read_digits(self, source: Source, *, signs: bool = False) -> DigitString:
        """Read all digits of a picture, in a row or rows; see `mnistkit.digits.numbers.read_digits`.

        Args:
            source: As for `predict_picture`.
            signs: Keep separators and operators in the text.
        """
        from mnistkit.digits.numbers import read_digits

        return read_digits(self, source, signs=signs)

    def read_number(self, source: Source) -> DigitString:
        """The earlier name of `read_digits`."""
        warnings.warn("Classifier.read_number is now called read_digits", DeprecationWarning, stacklevel=2)
        return self.read_digits(source)

    def _prediction(self, row: NDArray[np.float32], digit: int) -> Prediction:
        return Prediction(digit, self.labels[digit], row.item(digit), row, self.labels)

    def _raw(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """The model's own answers, ``[n, 10]``, however it wants its images laid out."""
        if self.takes_pictures:
            pictures = np.rint(255 * batch).astype(np.uint8).reshape(len(batch), SIDE, SIDE, 1)
            return np.stack([self._runtime.run({self._input.name: one})[self._output] for one in pictures])
        step = self._input.shape[0] if isinstance(self._input.shape[0], int) else _BATCH
        sizes = [size if isinstance(size, int) else SIDE for size in self._input.shape[1:]]
        rows = []
        for start in range(0, len(batch), step):
            part = self._scaling.of_unit(batch[start : start + step])
            missing = step - len(part) if isinstance(self._input.shape[0], int) else 0
            padded = np.pad(part, ((0, missing), (0, 0)))
            feeds = {self._input.name: cast(padded.reshape(len(padded), *sizes), self._input)}
            rows.append(self._runtime.run(feeds)[self._output].reshape(len(padded), CLASSES)[: len(part)])
        return np.concatenate(rows)


def as_images(images: ArrayLike) -> NDArray[np.float32]:
    """Check images and bring them to float32 ``[n, 784]`` in [0, 1]; see `Classifier.probabilities` for the rules.

    Raises:
        InputError: Wrong shape, type or range.
    """
    if isinstance(images, (str, os.PathLike)) or type(images).__module__.startswith("PIL."):
        what = "a path" if isinstance(images, (str, os.PathLike)) else "a Pillow image"
        raise InputError(f"images: expected numbers, got {what}; {_READ}")
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise InputError("images: the lists are ragged; every row needs the same length") from error
    if array.dtype.kind not in "buif":
        raise InputError(f"images: expected numbers, got {array.dtype}; of picture files, {_READ}")
    flat = array.reshape(_batch_shape(array.shape))
    return np.ascontiguousarray(_scaled(flat), dtype=np.float32)


def _are_dark_on_light(images: NDArray[np.float32]) -> bool:
    """Tell whether most images have a bright margin all around, and something dark inside."""
    margin = np.ones((SIDE, SIDE), bool)
    margin[2:-2, 2:-2] = False
    if len(images) == 0 or not may_be_dark_on_light(images):
        return False
    is_bright = np.quantile(images[:, margin.ravel()], 0.1, axis=1) > 0.5  # noqa: PLR2004
    has_ink = images[:, ~margin.ravel()].min(axis=1) < 0.5  # noqa: PLR2004
    return bool(np.mean(is_bright & has_ink) > 0.5)  # noqa: PLR2004


def _batch_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    image_shapes = ((SIDE, SIDE), (_PIXELS,), (SIDE, SIDE, 1), (1, SIDE, SIDE))
    if shape in image_shapes:
        return 1, _PIXELS
    if shape and shape[1:] in image_shapes:
        return shape[0], _PIXELS
    raise InputError(
        "images: expected shape (28, 28), (784,), (n, 28, 28) or (n, 784), with or without a channel axis, "
        f"got {shape}; of a picture of another size, {_READ}"
    )


def _scaled(flat: NDArray[Any]) -> NDArray[Any]:
    kind = flat.dtype.kind
    if kind == "b" or flat.size == 0:
        return flat
    low, high = flat.min(), flat.max()
    if kind == "f":
        if math.isnan(low) or not (low >= 0 and high <= 1):
            raise InputError(
                f"images: floats must lie in [0, 1], got {low:.4g} to {high:.4g}; divide grey levels by 255"
            )
        return flat
    if low < 0 or high > 255:  # noqa: PLR2004  # a byte
        raise InputError(f"images: whole numbers must lie in 0..255, got {low} to {high}")
    if flat.dtype == np.uint8:
        return flat.astype(np.float32) / 255
    masks = flat.max(axis=1, keepdims=True) <= 1
    return np.where(masks, flat, flat / 255)


def is_picture_model(runtime: Runtime) -> bool:
    """Whether a file has the outputs of ``export --picture`` and takes a uint8 picture."""
    given = [(info.dtype, len(info.shape)) for info in runtime.inputs]
    wanted = {"probabilities", "image28", "ink_fraction"}
    return given == [("uint8", 3)] and wanted <= {info.name for info in runtime.outputs}


def is_number_model(runtime: Runtime) -> bool:
    """Whether a file says that ``export --picture --number`` wrote it."""
    return runtime.metadata.get("kind") == "numbers"


def _image_input(runtime: Runtime) -> TensorInfo:
    declared = "; ".join(map(str, runtime.inputs))
    if len(runtime.inputs) != 1:
        raise ModelFileError(f"{runtime.name}: expected one image input, the file declares {declared}")
    info = runtime.inputs[0]
    sizes = [size if isinstance(size, int) else SIDE for size in info.shape[1:]]
    if math.prod(sizes) != _PIXELS or len(info.shape) not in {2, 3, 4}:
        raise ModelFileError(f"{runtime.name}: expected 784 numbers an image, the file declares {declared}")
    if info.dtype not in {"float16", "float32", "float64"}:
        raise ModelFileError(f"{runtime.name}: expected a float input, the file declares {declared}")
    return info


def _class_output(runtime: Runtime) -> TensorInfo:
    fitting = [info for info in runtime.outputs if len(info.shape) > 1 and info.shape[-1] in {CLASSES, None}]
    named = [info for info in fitting if info.name == "probabilities"]
    if not fitting:
        declared = "; ".join(map(str, runtime.outputs))
        raise ModelFileError(f"{runtime.name}: expected an output of {CLASSES} classes, the file declares {declared}")
    return (named or fitting)[0]


@functools.cache
def _probe() -> NDArray[np.float32]:
    """A few images that tell probabilities from logits: empty, full, and noise; the same on every machine."""
    ramp = (np.arange(2 * _PIXELS, dtype=np.uint32) * 2654435761 % 997).astype(np.float32) / 996
    return np.concatenate([np.zeros((1, _PIXELS)), np.ones((1, _PIXELS)), ramp.reshape(2, _PIXELS)]).astype(np.float32)


def softmax_where_needed(scores: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Probabilities ``[n, 10]`` of a model's answers, which may be logits.

    Raises:
        ModelFileError: The answers are neither probabilities nor finite logits.
    """
    return (_softmax(scores.astype(np.float64)) if _gives_logits(scores, name) else scores).astype(np.float32)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _gives_logits(scores: NDArray[Any], name: str) -> bool:
    if not np.isfinite(scores).all():
        raise ModelFileError(f"{name}: {_NOT_FINITE}")
    sums = scores.astype(np.float64).sum(axis=1)
    within = bool((scores >= 0).all() and (scores <= 1 + 1e-3).all())
    if within and np.abs(sums - 1).max() <= 1e-2:  # noqa: PLR2004  # float16 sums are this coarse
        return False
    if within:
        raise ModelFileError(f"{name}: ten numbers in [0, 1] that do not sum to 1; expected probabilities or logits")
    return True
