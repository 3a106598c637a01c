"""A report on a model: one HTML file, made from numbers that are collected first.

``collect`` measures and reads everything into the data classes of ``contents``. ``charts`` and ``graph_chart`` draw
them with matplotlib. ``page`` puts numbers and drawings into one file. ``write`` does all of it.
"""
