"""The steps of the picture graphs: each adds nodes to a `GraphBuilder`; see ``tools/picture_graphs.py``."""
