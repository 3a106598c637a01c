"""``python -m mnistkit.report``: the entry point alone. The report itself is `mnistkit.publish.report`."""
