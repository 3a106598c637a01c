"""``python -m mnistkit.evaluate``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]], prog="python -m mnistkit.evaluate"))
