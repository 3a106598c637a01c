"""``python -m mnistkit.info``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["info", *sys.argv[1:]], prog="python -m mnistkit.info"))
