"""``python -m mnistkit.predict``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]], prog="python -m mnistkit.predict"))
