"""Check that the loops written by hand train the same models as ``fit``: same weights, same batches, no dropout.

KERAS_BACKEND=torch PYTHONPATH=. python benchmarks/train_hand_check.py [NAME ...]

It prints loss and accuracy of two epochs of both, and ends with 1 where they differ by more than rounding explains.
"""

from __future__ import annotations

import sys

import numpy as np
import train_models
import train_rows
from train_loops import BATCH

STEPS, EPOCHS = 20, 2
TOLERANCE = 2e-3  # of loss and accuracy; without one of the two dropped residuals they differ by more than 1e-2


def main() -> int:
    """Compare."""
    differ = False
    for name in sys.argv[1:] or train_models.ROWS:
        x, y = train_models.ROWS[name].data(STEPS * BATCH)
        order = np.arange(STEPS * BATCH).reshape(STEPS, BATCH)
        model = train_models.compiled(name, dropout=0.0)
        history = model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0).history
        run = train_rows.hand_written(name, x, y, dropout=0.0)
        for epoch in range(EPOCHS):
            loss, accuracy = run(order)
            kept = history["loss"][epoch], history.get("accuracy", [accuracy] * EPOCHS)[epoch]
            equal = np.allclose((loss, accuracy), kept, rtol=0, atol=TOLERANCE)
            differ = differ or not equal
            words = "equal" if equal else "NOT EQUAL"
            print(f"{name}, epoch {epoch}: {words}: fit {kept[0]:.5f} {kept[1]:.5f}, by hand {loss:.5f} {accuracy:.5f}")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
