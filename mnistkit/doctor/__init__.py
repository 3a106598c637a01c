"""``python -m mnistkit.doctor``: the entry point alone."""
