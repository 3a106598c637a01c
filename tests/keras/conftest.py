"""Tests that need Keras: one backend for the process, chosen by KERAS_BACKEND."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def pytest_configure(config):
    # Keras under torch converts by np.array(tensor), which NumPy 2 tells torch off for
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    )
