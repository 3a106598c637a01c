"""``python -m mnistkit.bench``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]], prog="python -m mnistkit.bench"))
