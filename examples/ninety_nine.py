"""Train a small convolutional net that reads 99 % of MNIST's test digits after two passes over the training images.

KERAS_BACKEND=jax python examples/ninety_nine.py
"""

from __future__ import annotations

import time

EPOCHS, BATCH = 2, 125  # a batch that divides 60,000: no partial batch at the end needs a program of its own


def main(images: int | None = None) -> None:
    """Train on the first so many images, all by default, and print the accuracy and the time."""
    begun = time.perf_counter()
    import keras

    from mnistkit import fit, load_data

    data = load_data()
    x, x_test = (part[:images, :, :, None].astype("float32") / 255 for part in (data.x_train, data.x_test))
    y, y_test = data.y_train[:images], data.y_test[:images]

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for filters, size, stride in ((16, 5, 2), (32, 3, 2), (64, 3, 1)):  # strides leave less to compute than pooling
        model.add(keras.layers.Conv2D(filters, size, strides=stride, use_bias=False))
        model.add(keras.layers.BatchNormalization(momentum=0.9))
        model.add(keras.layers.ReLU())
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(10, "softmax"))

    # one cycle of the learning rate: a fifth of the steps up, then down to zero
    steps = EPOCHS * len(x) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(
        0.001, steps - steps // 5, alpha=0.0, warmup_target=0.01, warmup_steps=steps // 5
    )
    model.compile(keras.optimizers.Adam(rate, beta_2=0.99), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = fit(
        model, x, y, epochs=EPOCHS, batch_size=BATCH, seed=0, verbose=0,
        validation_data=(x_test, y_test), validation_freq=EPOCHS, validation_batch_size=1000,
    )  # fmt: skip
    accuracy = history.history["val_accuracy"][-1]
    print(f"test accuracy {accuracy:.2%} after {time.perf_counter() - begun:.1f} s, imports included")


if __name__ == "__main__":
    main()
