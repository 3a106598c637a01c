"""``python -m mnistkit.export``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]], prog="python -m mnistkit.export"))
