"""``python -m mnistkit.verify``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["verify", *sys.argv[1:]], prog="python -m mnistkit.verify"))
