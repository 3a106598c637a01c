"""``python -m mnistkit.doctor``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]], prog="python -m mnistkit.doctor"))
