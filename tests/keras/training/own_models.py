"""Models with train steps of their own, written as users write them for each backend."""

from __future__ import annotations

import keras
import numpy as np

BACKEND = keras.backend.backend()
FEATURES = 8


def torch_update(optimizer, loss, weights):
    import torch

    loss.backward()
    with torch.no_grad():
        optimizer.apply([one.value.grad for one in weights], weights)


class Own(keras.Model):
    """Doubles the loss, and reports it as it is beside the metrics."""

    scale = 2.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.strength = 1.0

    def train_step(self, *given):
        if BACKEND == "torch":
            return self.torch(*given)
        return self.jax(*given) if BACKEND == "jax" else self.tensorflow(*given)

    def torch(self, data):
        x, y = data
        self.zero_grad()
        predicted = self(x, training=True)
        loss = self.compute_loss(x, y, predicted) * self.scale * self.strength
        torch_update(self.optimizer, loss, self.trainable_weights)
        return self.report(y, predicted, loss)

    def tensorflow(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            predicted = self(x, training=True)
            loss = self.compute_loss(x, y, predicted) * self.scale * self.strength
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        return self.report(y, predicted, loss)

    def report(self, y, predicted, loss):
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, predicted)
        return {metric.name: metric.result() for metric in self.metrics} | {"last": loss}

    def jax(self, state, data):
        import jax

        trainable, other, of_optimizer, of_metrics = state
        x, y = data

        def loss_of(trainable, other):
            predicted, other = self.stateless_call(trainable, other, x, training=True)
            return self.compute_loss(x, y, predicted) * self.scale * self.strength, (predicted, other)

        (loss, (predicted, other)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, other)
        trainable, of_optimizer = self.optimizer.stateless_apply(of_optimizer, gradients, trainable)
        logs, new_metrics = {"last": loss}, []
        for metric in self.metrics:
            count = len(metric.variables)
            mine, of_metrics = of_metrics[:count], of_metrics[count:]
            given = (loss,) if metric.name == "loss" else (y, predicted)
            mine = metric.stateless_update_state(mine, *given)
            logs[metric.name] = metric.stateless_result(mine)
            new_metrics += mine
        return logs, (trainable, other, of_optimizer, new_metrics)


def data(n=70, *, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, FEATURES)).astype("float32"), random.normal(size=(n, 3)).astype("float32")


def net(kind=Own, *, loss="mse", metrics=("mae",)):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(6, "tanh")(inputs)
    model = kind(inputs, keras.layers.Dense(3)(hidden))
    model.compile("adam", loss, metrics=list(metrics))
    return model


class Gan(keras.Model):
    """Two networks with an optimizer each; random numbers from a seed generator of Keras."""

    def __init__(self):
        super().__init__()
        self.generator = keras.Sequential([keras.Input((4,)), keras.layers.Dense(FEATURES, "tanh")])
        self.critic = keras.Sequential([keras.Input((FEATURES,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(1)])
        self.seeds = keras.random.SeedGenerator(5)
        self.of_critic = keras.metrics.Mean(name="critic")
        self.of_generator = keras.metrics.Mean(name="generator")
        self.built = True

    @property
    def metrics(self):
        return [self.of_critic, self.of_generator]

    def compile(self, optimizers, **options):
        super().compile(**options)
        self.critic_optimizer, self.generator_optimizer = optimizers
        self.loss_of = keras.losses.BinaryCrossentropy(from_logits=True)

    def critic_loss(self, real):
        fake = self.generator(keras.random.normal(keras.ops.shape(real[:, :4]), seed=self.seeds))
        logits = self.critic(keras.ops.concatenate([real, fake]))
        ones = keras.ops.ones_like(real[:, :1])
        return self.loss_of(keras.ops.concatenate([ones, ones * 0]), logits)

    def generator_loss(self, real):
        fake = self.generator(keras.random.normal(keras.ops.shape(real[:, :4]), seed=self.seeds))
        return self.loss_of(keras.ops.ones_like(real[:, :1]), self.critic(fake))

    def train_step(self, real):
        losses = []
        for loss_of, optimizer, network in (
            (self.critic_loss, self.critic_optimizer, self.critic),
            (self.generator_loss, self.generator_optimizer, self.generator),
        ):
            weights = network.trainable_weights
            if BACKEND == "torch":
                self.zero_grad()
                loss = loss_of(real)
                torch_update(optimizer, loss, weights)
            else:
                import tensorflow as tf

                with tf.GradientTape() as tape:
                    loss = loss_of(real)
                optimizer.apply(tape.gradient(loss, weights), weights)
            losses.append(loss)
        self.of_critic.update_state(losses[0])
        self.of_generator.update_state(losses[1])
        return {one.name: one.result() for one in self.metrics}


def gan():
    keras.utils.set_random_seed(2)
    model = Gan()
    # without XLA, TensorFlow draws other numbers from one seed
    model.compile((keras.optimizers.Adam(0.01), keras.optimizers.RMSprop(0.01)), jit_compile=BACKEND == "tensorflow")
    return model
