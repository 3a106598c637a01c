"""``python -m mnistkit.verify FILE``, and the function: ``mnistkit.verify(file)``.

The function is `mnistkit.core.comparison.verify_file`. The module itself can be called, so that the name means the same
before and after something imports the module.
"""

from mnistkit.core.comparison import verify_file
from mnistkit.core.modules import make_callable

make_callable(__name__, verify_file)
