"""``python -m mnistkit.cli VERB``, as ``python -m mnistkit VERB``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
