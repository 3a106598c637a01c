"""``python -m mnistkit.evaluate FILE``, and the function: ``mnistkit.evaluate(file)``.

The function is `mnistkit.digits.evaluate.evaluate`. The module itself can be called, so that the name means the same
before and after something imports the module.
"""

from mnistkit.core.modules import make_callable
from mnistkit.digits.evaluate import evaluate

make_callable(__name__, evaluate)
