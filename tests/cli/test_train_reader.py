"""The flags of ``train --model reader``: those of the other models are refused, and the other way round."""

import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "reader", "--optimizer", "adam"), "leave --optimizer out"),
        (("--model", "reader", "--resume"), "leave --resume out"),
        (("--minutes", "3"), "--minutes is for --model reader"),
        (("--start", "a.keras"), "--start is for the models cnn and reader"),
        (("--model", "reader", "--side", "100"), "side must be a multiple of 32"),
        (("--model", "reader", "--minutes", "0"), "minutes must be positive"),
    ],
)
def test_a_flag_that_says_nothing_is_refused(fails, words, said):
    assert said in fails("train", *words)
