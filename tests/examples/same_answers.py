"""How answers of different apps are compared."""

import numpy as np

TOLERANCE = 1e-5


def assert_same(answers, expected):
    assert [answer["digit"] for answer in answers] == [one.digit for one in expected]
    for answer, one in zip(answers, expected, strict=True):
        np.testing.assert_allclose(answer["probabilities"], one.probabilities, rtol=0, atol=TOLERANCE)
