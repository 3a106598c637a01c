"""The tutorial and handwriting: data, models, training, reading pictures.

Start with `mnistkit.digits.train` (the tutorial) or `mnistkit.digits.classifier` (reading digits).
"""
