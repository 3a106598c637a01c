"""``python -m mnistkit.bench``: the entry point alone. The bench itself is `mnistkit.publish.bench`."""
