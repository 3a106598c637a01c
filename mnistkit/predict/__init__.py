"""``python -m mnistkit.predict``: the entry point alone."""
