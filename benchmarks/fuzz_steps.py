"""Models with steps of their own for benchmarks/fit_fuzz.py, written as users write them for each backend."""

from __future__ import annotations

from typing import Any

import keras  # noqa: TID253 - after the backend is chosen
from keras import ops  # noqa: TID253

BACKEND = keras.backend.backend()
STEPS = (
    *("plain", "plain", "scaled", "penalty", "clipped", "extra logs", "noise", "two optimizers"),
    *("own loss", "own metrics", "own test step", "counting", "keeping", "adding"),
)


class Stepped(keras.Model):
    """A model with a train step of its own; the kinds below change parts of it."""

    factor = 1.0

    def answer(self, x: Any) -> Any:
        """Call the model."""
        return self(x, training=True)

    def change(self, gradients: list[Any]) -> list[Any]:
        """Change the gradients."""
        return gradients

    def objective(self, x: Any, y: Any, predicted: Any, weight: Any) -> Any:
        """Return the loss."""
        return self.compute_loss(x=x, y=y, y_pred=predicted, sample_weight=weight, training=True) * self.factor

    def parts(self) -> list[tuple[Any, list[Any]]]:
        """Return each optimizer with its weights."""
        return [(self.optimizer, self.trainable_weights)]

    def begin(self) -> None:
        """Do what comes first."""

    def logs(self, loss: Any) -> dict[str, Any]:
        """Return what the step reports."""
        del loss
        return self.get_metrics_result()

    def report(self, x: Any, y: Any, predicted: Any, weight: Any, loss: Any) -> dict[str, Any]:
        """Update the metrics."""
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted, sample_weight=weight)
        del x
        return self.logs(loss)


class OfTorch(Stepped):
    """For PyTorch."""

    def train_step(self, data: Any) -> Any:
        """Do a step."""
        import torch

        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.begin()
        self.clear()
        predicted = self.answer(x)
        loss = self.objective(x, y, predicted, weight)
        self.optimizer.scale_loss(loss).backward()
        with torch.no_grad():
            for optimizer, weights in self.parts():
                if weights:
                    optimizer.apply(self.change([one.value.grad for one in weights]), weights)
        return self.report(x, y, predicted, weight, loss)

    def clear(self) -> None:
        """Forget the gradients of the step before."""
        self.zero_grad()


class OfTensorFlow(Stepped):
    """For TensorFlow."""

    def train_step(self, data: Any) -> Any:
        """Do a step."""
        import tensorflow as tf

        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.begin()
        with tf.GradientTape(persistent=True) as tape:
            predicted = self.answer(x)
            loss = self.objective(x, y, predicted, weight)
            scaled = self.optimizer.scale_loss(loss)
        pairs = [(optimizer, weights, tape.gradient(scaled, weights)) for optimizer, weights in self.parts() if weights]
        for optimizer, weights, gradients in pairs:
            optimizer.apply(self.change(gradients), weights)
        return self.report(x, y, predicted, weight, loss)


class OfJax(Stepped):
    """For JAX."""

    def train_step(self, state: Any, data: Any) -> Any:
        """Do a step."""
        import jax

        trainable, other, of_optimizer, of_metrics = state
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        self.begin()

        def loss_of(trainable: Any, other: Any) -> Any:
            pairs = [*zip(self.trainable_variables, trainable, strict=True)]
            pairs += [*zip(self.non_trainable_variables, other, strict=True)]
            pairs += [*zip(self.optimizer.variables, of_optimizer, strict=True)]
            with keras.StatelessScope(pairs) as scope:
                predicted = self.answer(x)
                loss = self.objective(x, y, predicted, weight)
                scaled = self.optimizer.scale_loss(loss)
            left = [scope.get_current_value(one) for one in self.non_trainable_variables]
            other = [new if old is None else old for old, new in zip(left, other, strict=True)]
            return scaled, (loss, predicted, other)

        (_, (loss, predicted, other)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, other)
        trainable, of_optimizer = self.optimizer.stateless_apply(of_optimizer, self.change(gradients), trainable)
        pairs = [*zip(self.metrics_variables, of_metrics, strict=True)]
        with keras.StatelessScope(pairs) as scope:
            logs = self.report(x, y, predicted, weight, loss)
        left = [scope.get_current_value(one) for one in self.metrics_variables]
        of_metrics = [new if old is None else old for old, new in zip(left, of_metrics, strict=True)]
        return logs, (trainable, other, of_optimizer, of_metrics)


_BASE: Any = {"torch": OfTorch, "tensorflow": OfTensorFlow, "jax": OfJax}[BACKEND]


class Scaled(_BASE):
    """Scales the loss."""

    factor = 0.3


class Penalty(_BASE):
    """Adds a penalty on the weights."""

    def objective(self, x: Any, y: Any, predicted: Any, weight: Any) -> Any:
        """Return the loss."""
        penalty = sum(ops.sum(ops.square(ops.cast(one, "float32"))) for one in self.trainable_variables)
        return super().objective(x, y, predicted, weight) + 0.01 * penalty


class Clipped(_BASE):
    """Clips the gradients itself."""

    def change(self, gradients: list[Any]) -> list[Any]:
        """Change the gradients."""
        return [None if one is None else ops.clip(one, -0.02, 0.02) for one in gradients]


class ExtraLogs(_BASE):
    """Reports a value that is no metric."""

    def logs(self, loss: Any) -> dict[str, Any]:
        """Return what the step reports."""
        return self.get_metrics_result() | {"this loss": loss}


class Noise(_BASE):
    """Adds noise to what the model gives."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seeds = keras.random.SeedGenerator(3)

    def answer(self, x: Any) -> Any:
        """Call the model."""
        out = super().answer(x)
        return out + 0.01 * ops.cast(keras.random.normal(ops.shape(out), seed=self.seeds), out.dtype)


class TwoOptimizers(_BASE):
    """Trains the last layer by an optimizer of its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.second = keras.optimizers.RMSprop(0.003)

    def parts(self) -> list[tuple[Any, list[Any]]]:
        """Return each optimizer with its weights."""
        last = self.layers[-1].trainable_weights
        ids = [id(one) for one in last]
        return [(self.optimizer, [one for one in self.trainable_weights if id(one) not in ids]), (self.second, last)]


class OwnLoss(keras.Model):
    """Keras' step with another loss."""

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None) -> Any:
        """Return the loss."""
        return 2 * super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight)


class OwnMetrics(keras.Model):
    """Keras' step with a value that is no metric."""

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Return what the step reports."""
        return super().compute_metrics(x, y, y_pred, sample_weight) | {"highest": ops.max(y_pred)}


class OwnTestStep(keras.Model):
    """Keras' train step, and an evaluation that is its own."""

    def test_step(self, *given: Any) -> Any:
        """Do a step of an evaluation."""
        out = super().test_step(*given)
        if BACKEND == "jax":
            return out[0] | {"one": ops.convert_to_tensor(1.0)}, out[1]
        return out | {"one": ops.convert_to_tensor(1.0)}


class Counting(_BASE):
    """Counts its steps."""

    def begin(self) -> None:
        """Do what comes first."""
        self.factor *= 0.9


class Keeping(_BASE):
    """Keeps numbers in a list, and uses how many there are."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept: list[float] = []

    def begin(self) -> None:
        """Do what comes first."""
        self.kept.append(1.0)

    def objective(self, x: Any, y: Any, predicted: Any, weight: Any) -> Any:
        """Return the loss."""
        return super().objective(x, y, predicted, weight) / len(self.kept)


class Adding(_BASE):
    """Adds its gradients to those of the step before, under PyTorch."""

    def clear(self) -> None:
        """Forget nothing."""


_KINDS: dict[str, Any] = {
    "none": keras.Model,
    "plain": _BASE,
    "scaled": Scaled,
    "penalty": Penalty,
    "clipped": Clipped,
    "extra logs": ExtraLogs,
    "noise": Noise,
    "two optimizers": _BASE if BACKEND == "jax" else TwoOptimizers,
    "own loss": OwnLoss,
    "own metrics": OwnMetrics,
    "own test step": OwnTestStep,
    # model.fit under TensorFlow counts its traces, and makes one more where it builds the optimizer
    "counting": _BASE if BACKEND == "tensorflow" else Counting,
    "keeping": _BASE if BACKEND == "tensorflow" else Keeping,
    "adding": Adding,
}


def model_class(step: str) -> Any:
    """Return the class of models with a kind of step."""
    return _KINDS[step]
