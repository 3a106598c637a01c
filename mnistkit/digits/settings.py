"""What is trained and how. Nothing here needs NumPy or Keras, so a command line can check its flags at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from mnistkit.core.errors import InputError, did_you_mean
from mnistkit.core.keras_names import public_names

MODELS: Final = ("mlp", "cnn")
"""Names of the models in `mnistkit.digits.model`."""
AUGMENTED: Final = "cnn"  # trained by `mnistkit.digits.train_cnn` instead of the tutorial's steps
OF_ANY_MODEL: Final = ("model", "epochs", "batch_size", "seed")  # the others are the tutorial's recipe
_OF_AUGMENTED: Final = (*OF_ANY_MODEL, "start")

_NO_ACTIVATIONS = {"deserialize", "get", "serialize"}
_NO_OPTIMIZERS = {"lossscaleoptimizer", "multioptimizer", "optimizer", "optimizermap"}
"""Optimizers of Keras that take others, or are there to be subclassed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is trained and how; the defaults are the tutorial's.

    Attributes:
        model: Name of a model in `mnistkit.digits.model`.
        epochs: Passes over the training images.
        batch_size: Images a step.
        optimizer: Name of any Keras optimizer.
        learning_rate: Its first learning rate.
        rho: Its moving-average decay; ``None`` for the tutorial's 0.9 under RMSprop, else Keras' default.
        epsilon: Its epsilon; ``None`` for the tutorial's 1e-8 under RMSprop, else Keras' default.
        decay: Learning-rate decay per batch, as in Keras 1 and 2.
        hidden: Width of the hidden layer, or the widths of several, from the input on.
        activation: Name of any Keras activation, for the hidden layers.
        seed: Seed of the initial weights and of the batch order.
        validation_split: Share of the training images, from their end, that is held out, in [0, 1).
        start: A ``.keras`` file of a cnn that the training goes on from, at a lower rate; or None. The cnn's alone.

    Raises:
        InputError: A number is out of range, a name is unknown, or the model has no such setting.
    """

    model: str = "mlp"
    epochs: int = 2
    batch_size: int = 32
    optimizer: str = "rmsprop"
    learning_rate: float = 0.001
    rho: float | None = None
    epsilon: float | None = None
    decay: float = 0.0
    hidden: int | tuple[int, ...] = 32
    activation: str = "relu"
    seed: int = 1337
    validation_split: float = 0.0
    start: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.hidden, Iterable):
            # One width is one number, so that (32,) and 32 are equal.
            widths = tuple(self.hidden)
            object.__setattr__(self, "hidden", widths[0] if len(widths) == 1 else widths)
        for name, values in (
            ("epochs", (self.epochs,)),
            ("batch_size", (self.batch_size,)),
            ("hidden", self.hidden_layers),
        ):
            least = min(values, default=0)
            if least < 1:
                raise InputError(f"{name.replace('_', ' ')} must be at least 1, got {least if values else 'nothing'}")
        if self.seed < 0:
            raise InputError(f"seed must not be negative, got {self.seed}")
        if not 0 <= self.validation_split < 1:
            raise InputError(f"validation split must lie in [0, 1), got {self.validation_split}")
        if self.model not in MODELS:
            raise InputError(f"unknown model {self.model!r}; use one of {', '.join(sorted(MODELS))}")
        self._check_names()
        if self.model == AUGMENTED:
            for field in dataclasses.fields(self):
                if field.name not in _OF_AUGMENTED and getattr(self, field.name) != field.default:
                    flag = f"--{field.name.replace('_', '-')}"
                    raise InputError(f"the {self.model} has a recipe of its own; leave {flag} out")
        elif self.start is not None:
            raise InputError("--start is for the models cnn and reader; leave it out")

    @property
    def hidden_layers(self) -> tuple[int, ...]:
        """Widths of the hidden layers, from the input on."""
        return tuple(self.hidden) if isinstance(self.hidden, Iterable) else (self.hidden,)

    def as_json(self) -> dict[str, Any]:
        """The settings as JSON keeps them; without ``start`` where there is none."""
        hidden = list(self.hidden) if isinstance(self.hidden, Iterable) else self.hidden
        found = {**dataclasses.asdict(self), "hidden": hidden}
        if self.start is None:
            del found["start"]
        return found

    def _check_names(self) -> None:
        """Refuse names that the installed Keras does not have, before Keras is loaded; where it cannot be told, later.

        `mnistkit.digits.optimizers` and `mnistkit.digits.model` check them again.
        """
        activations = public_names("activations") - _NO_ACTIVATIONS
        optimizers = {name.lower() for name in public_names("optimizers") if name[0].isupper()} - _NO_OPTIMIZERS
        if self.optimizer.lower() in _NO_OPTIMIZERS:
            raise InputError(f"the optimizer {self.optimizer!r} does not train a model by itself; name another")
        for what, name, known in (
            ("activation", self.activation, activations),
            ("optimizer", self.optimizer.lower(), optimizers),
        ):
            if known and name not in known:
                shown = getattr(self, what)
                raise InputError(
                    f"unknown {what} {shown!r}{did_you_mean(name, known)} (Keras has {', '.join(sorted(known))})"
                )
