"""``python -m mnistkit.serve``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]], prog="python -m mnistkit.serve"))
