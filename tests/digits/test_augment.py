"""Augmentation: seeded, in range, and still the digit it was."""

import numpy as np

from mnistkit.digits.augment import augment


def varied(mnist, seed, n=256):
    images, labels = mnist.x_train[:n].astype(np.float32) / np.float32(255), mnist.y_train[:n]
    return images, labels, augment(images, labels, generator=np.random.default_rng(seed))


def test_range_type_and_no_change_to_the_input(mnist):
    before = mnist.x_train[:256].copy()
    _, _, result = varied(mnist, 0)
    assert result.dtype == np.float32
    assert result.shape == (256, 28, 28)
    assert result.min() >= 0
    assert result.max() <= 1
    assert np.array_equal(before, mnist.x_train[:256])


def test_seed_decides(mnist):
    assert np.array_equal(varied(mnist, 1)[2], varied(mnist, 1)[2])
    assert not np.array_equal(varied(mnist, 1)[2], varied(mnist, 2)[2])


def test_every_image_is_varied_and_most_stay_readable(mnist, classifier):
    images, labels, result = varied(mnist, 3)
    assert (np.abs(images - result).max((1, 2)) > 0.05).all()
    assert (classifier.probabilities(result).argmax(1) == labels).mean() > 0.6
    assert (classifier.probabilities(result[::-1].copy()).argmax(1) == labels).mean() < 0.3
