"""``python -m mnistkit.train``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]], prog="python -m mnistkit.train"))
