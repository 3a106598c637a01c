"""Keras' settings of Adam, for the loops written by hand."""

RATE, BETA_1, BETA_2, EPSILON = 0.001, 0.9, 0.999, 1e-7
