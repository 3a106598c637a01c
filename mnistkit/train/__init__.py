"""``python -m mnistkit.train``: the entry point alone."""
