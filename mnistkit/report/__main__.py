"""``python -m mnistkit.report``."""

import sys

from mnistkit.cli import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]], prog="python -m mnistkit.report"))
