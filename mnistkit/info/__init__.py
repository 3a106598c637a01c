"""``python -m mnistkit.info``: the entry point alone."""
