"""The whole reading of a picture with several digits as one ONNX graph, for apps without mnistkit.

``tensor`` and ``graph`` are how the graph is written down, ``merging`` makes other graphs a part of it. The other
modules say in it what `mnistkit.digits.reader` says in NumPy, with the same constants: ``pixels`` prepares the picture,
``boxes`` has what is common to all lists of digits, ``looks`` looks at several sizes and ways up, ``vote`` asks the
classifier, ``shapes`` tells what may be no digit, ``order`` finds the rows, ``answer`` has the outputs, ``examples``
the pages on which the file is held against the reader. `mnistkit.digits.number_model` puts them together.
"""
