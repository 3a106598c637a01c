"""What a layer calls of its framework itself, expressed in ``keras.ops``: one table for each framework.

Each table holds functions by name, with the framework's own arguments and defaults. A call that is not in the tables is
refused by its name; nothing is guessed.
"""
