"""Tests that need Keras: one backend for the process, chosen by KERAS_BACKEND."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
