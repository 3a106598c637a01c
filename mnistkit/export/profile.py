"""Profiles: what a model is for, so that its file can say so.

Without a profile an export adds nothing to a model and renames nothing. A profile adds names, labels, preprocessing and
real inputs for the verification. It is chosen by the training provenance beside the ``.keras`` file, by name or as an
object; never by shapes.

`LabeledClassifier` serves most classifiers. Any object with the attributes of `Profile` serves as well. This one
describes a model that predicts the price of a house from four columns of a table:

    >>> import numpy as np
    >>> from mnistkit.core.errors import InputError
    >>> from mnistkit.export.profile import ProfileSample
    >>> class HousePrices:
    ...     name = "house-prices"
    ...     columns = ("area", "rooms", "year", "distance")
    ...
    ...     def __init__(self, table, prices):
    ...         self.table, self.prices = table, prices  # float32 [n, 4], float32 [n, 1]
    ...
    ...     def check(self, signature):
    ...         if len(signature.inputs) != 1 or signature.inputs[0].shape[1:] != (4,):
    ...             raise InputError(f"profile {self.name}: expected one input of 4 columns, got {signature}")
    ...
    ...     def samples(self, signature):
    ...         return [ProfileSample("test rows", {signature.inputs[0].name: self.table})]
    ...
    ...     def names(self, signature, outputs):
    ...         return ["table"], ["price"]
    ...
    ...     def metadata(self, signature):
    ...         return {"columns": ",".join(self.columns)}
    ...
    ...     def accuracy(self, outputs):
    ...         return None  # a regression has none
    >>> profile = HousePrices(np.zeros((8, 4), np.float32), np.zeros((8, 1), np.float32))
    >>> profile.name
    'house-prices'

It is used as ``export_onnx(model, "prices.onnx", profile=profile)``.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnistkit.export.signature import Signature

Names = tuple[Sequence[str] | None, Sequence[str] | None]
"""Names for the inputs and for the outputs, in the model's order; ``None`` keeps what the model has."""

NO_PROFILE = "none"
"""The name that asks for no profile, whatever the training provenance says."""
ENTRY_POINTS = "mnistkit.profiles"
"""Entry point group in which an installed package offers its profiles."""
RESERVED = frozenset(
    {"format_version", "golden", "golden_atol", "keras_version", "shrunk", "states", "test_accuracy", "weights_sha256"}
)
"""Metadata keys that the export itself writes."""


@dataclass(frozen=True, slots=True)
class ProfileSample:
    """Real inputs to verify a file on.

    Attributes:
        name: What they are, for the table of the report.
        inputs: Arrays by Keras input name, all with the same number of rows, at least one.
        batch_sizes: Batch sizes at which the file is run on them; ``None`` for 1, 2, 3 and all rows at once.
    """

    name: str
    inputs: Mapping[str, NDArray[Any]]
    batch_sizes: tuple[int, ...] | None = None


class Profile(Protocol):
    """What a model is for. The export calls the methods in the order in which they stand here.

    Two more methods may be there. ``fitted(signature, call)`` comes after ``check`` and returns the profile to go on
    with: ``call`` gives Keras' answers by output name for arrays by input name, so that a profile can find out what the
    model takes. ``check_file(path, outputs)`` comes last, when the file is written, under its temporary name, with
    Keras' answers to the first of ``samples``; it raises when the file is not used rightly.
    """

    @property
    def name(self) -> str:
        """Short name for messages and the provenance."""

    def check(self, signature: Signature) -> None:
        """Accept a model by its inputs and outputs.

        Raises:
            InputError: The model is not of this kind; the message says what was expected and what it has.
        """

    def samples(self, signature: Signature) -> Sequence[ProfileSample]:
        """Inputs for the verification, the test set first.

        An empty sequence has inputs drawn by type and range, as for a model without a profile.
        """

    def names(self, signature: Signature, outputs: Sequence[NDArray[Any]]) -> Names:
        """Names for the file's inputs and outputs.

        Args:
            signature: Inputs and outputs under Keras' names.
            outputs: Keras' answers to all samples, in the order of the model's outputs.
        """

    def metadata(self, signature: Signature) -> Mapping[str, str]:
        """Entries for the file, without the prefix ``mnistkit.``; none of `RESERVED`.

        The server and `mnistkit.Classifier` read ``labels`` (a JSON list of names), ``preprocessing`` (a sentence) and
        ``preprocessing_parameters`` (a JSON object).
        """

    def accuracy(self, outputs: Sequence[NDArray[Any]]) -> float | None:
        """Share of right answers in [0, 1], ``None`` when that means nothing.

        Args:
            outputs: Answers to the first of `samples`, in the order of the model's outputs. There may be fewer rows
                than samples: a fixed batch size leaves over what fills no batch.
        """


class ProfileFactory(Protocol):
    """Makes a profile that was asked for by name, in Python, on the command line or by the training provenance."""

    def __call__(self, *, training: Mapping[str, Any], data: Any, labels: Sequence[str] | None) -> Profile:
        """Make the profile.

        Args:
            training: The training provenance beside the ``.keras`` file, empty when there is none.
            data: The test data that the caller gave, ``None`` for the profile's own.
            labels: The class names that the caller gave, ``None`` for those of the training or the profile's own.

        Raises:
            InputError: The profile has no use for what the caller gave.
        """


@dataclass(frozen=True)
class LabeledClassifier:
    """Profile of any classifier: class names, preprocessing, and a test set where there is one.

    Args:
        labels: Class names, as many as the last axis of the first output.
        preprocessing: How raw data becomes the model's input, in words.
        preprocessing_parameters: The same as numbers, anything that JSON can hold.
        inputs: A test set, arrays by Keras input name; inputs are drawn by type and range by default.
        targets: Class numbers of the test set ``[n]``, for the accuracy.
        input_names: Names for the file's inputs, in the model's order; Keras' by default.
        output_names: Names for the file's outputs, likewise.

    Raises:
        InputError: Labels are empty, not text or used twice, or ``targets`` and ``inputs`` do not fit each other.

    Example:
        >>> profile = LabeledClassifier(
        ...     labels=["cat", "dog"],
        ...     preprocessing="RGB, 224x224, scaled to [-1, 1]",
        ...     preprocessing_parameters={"side": 224, "scale": 1 / 127.5, "offset": -1.0},
        ... )
        >>> profile.metadata(None)["labels"]
        '["cat", "dog"]'
    """

    labels: Sequence[str]
    preprocessing: str | None = None
    preprocessing_parameters: Mapping[str, Any] | None = None
    inputs: Mapping[str, NDArray[Any]] | None = None
    targets: NDArray[Any] | Sequence[int] | None = None
    input_names: Sequence[str] | None = None
    output_names: Sequence[str] | None = None

    name = "labels"

    def __post_init__(self) -> None:
        labels = [self.labels] if isinstance(self.labels, str) else list(self.labels)
        if not labels or len(set(labels)) != len(labels) or not all(isinstance(x, str) and x for x in labels):
            raise InputError(f"labels: expected different names, got {', '.join(map(str, labels)) or 'none'}")
        if self.targets is not None:
            if not self.inputs:
                raise InputError("targets: give the inputs that they belong to as well")
            rows = {len(array) for array in self.inputs.values()}
            if rows != {len(self.targets)}:
                raise InputError(f"targets: {len(self.targets)} for inputs of {', '.join(map(str, sorted(rows)))} rows")

    def check(self, signature: Signature) -> None:
        """Accept any model whose first output has one score for each label.

        Raises:
            InputError: It has another number of scores.
        """
        scores = signature.outputs[0]
        if not scores.shape or scores.shape[-1] != len(self.labels):
            raise InputError(f"{len(self.labels)} labels do not fit the output {scores}; give one for each class")

    def samples(self, signature: Signature) -> Sequence[ProfileSample]:
        """The test set.

        Raises:
            InputError: Its arrays have other names than the model's inputs.
        """
        if not self.inputs:
            return []
        wanted = [tensor.name for tensor in signature.inputs]
        if set(self.inputs) != set(wanted):
            raise InputError(f"inputs: expected arrays {', '.join(wanted)}, got {', '.join(self.inputs)}")
        arrays = {t.name: np.asarray(self.inputs[t.name]).astype(t.dtype) for t in signature.inputs}
        return [ProfileSample("test set", arrays)]

    def names(self, signature: Signature, outputs: Sequence[NDArray[Any]]) -> Names:  # noqa: ARG002  # of the protocol
        """The names that were given."""
        return self.input_names, self.output_names

    def metadata(self, signature: Signature) -> Mapping[str, str]:  # noqa: ARG002  # of the protocol
        """Labels and preprocessing."""
        entries = {"labels": json.dumps(list(self.labels), ensure_ascii=False)}
        if self.preprocessing is not None:
            entries["preprocessing"] = self.preprocessing
        if self.preprocessing_parameters is not None:
            entries["preprocessing_parameters"] = json.dumps(dict(self.preprocessing_parameters), sort_keys=True)
        return entries

    def accuracy(self, outputs: Sequence[NDArray[Any]]) -> float | None:
        """Share of rows whose largest score is at the target."""
        if self.targets is None:
            return None
        scores = outputs[0]
        return float(np.mean(scores.argmax(axis=-1) == np.asarray(self.targets)[: len(scores)]))


_registered: dict[str, ProfileFactory] = {}


def register_profile(name: str, factory: ProfileFactory) -> None:
    """Make a profile known to this process under a name.

    An installed package needs no call: it names its factory in the entry point group ``mnistkit.profiles``.

    Args:
        name: The name for ``profile=`` and ``--profile``.
        factory: Makes the profile.

    Raises:
        InputError: The name is empty, means no profile, or belongs to another factory.
    """
    if not name or name == NO_PROFILE:
        raise InputError(f"{name!r} is no name for a profile; take another one")
    if _registered.setdefault(name, factory) is not factory:
        raise InputError(f"a profile {name!r} is registered already; take another name")


def known_profiles() -> list[str]:
    """Names of the profiles that are registered or offered by an installed package."""
    return sorted({*_registered, *importlib.metadata.entry_points(group=ENTRY_POINTS).names})


def find_profile(name: str) -> ProfileFactory:
    """The factory of a name.

    Raises:
        InputError: Nobody offers it.
    """
    if name in _registered:
        return _registered[name]
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
        factory: ProfileFactory = entry.load()
        return factory
    raise InputError(
        f"no profile {name!r} here, known are {', '.join(known_profiles()) or 'none'}; "
        f"install the package that brings it, or use {NO_PROFILE!r}"
    )


def choose_profile(
    asked: Profile | str | None, *, training: Mapping[str, Any], data: Any = None, labels: Sequence[str] | None = None
) -> Profile | None:
    """The profile of an export, ``None`` when nothing says what the model is.

    Args:
        asked: What the caller asked for; ``None`` leaves it to the training provenance.
        training: The training provenance, empty when there is none.
        data: Test data for a profile that is chosen by name or by the provenance.
        labels: Class names for such a profile; without one they make a `LabeledClassifier`.

    Raises:
        InputError: The profile is unknown, or ``data`` and ``labels`` have no profile to go to.
    """
    if asked is not None and not isinstance(asked, str):
        if data is not None or labels is not None:
            raise InputError(f"give data and labels to the profile {asked.name!r} itself, not to the export")
        return asked
    # Version 0.1 of `mnistkit train` did not name its profile; it had this one alone.
    name = asked or (training.get("profile", "digits") if training else NO_PROFILE)
    if name != NO_PROFILE:
        return find_profile(name)(training=training, data=data, labels=labels)
    if data is not None:
        known = ", ".join(known_profiles()) or "none"
        raise InputError(f"data: no profile that uses it is chosen; name one with --profile (known: {known})")
    return None if labels is None else LabeledClassifier(labels)
