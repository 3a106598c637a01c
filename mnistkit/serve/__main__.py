"""``python -m mnistkit.serve``."""

import signal
import sys

if __name__ == "__main__":
    if hasattr(signal, "SIGHUP"):  # Windows has none
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # safe while everything is being imported
    from mnistkit.cli import main

    sys.exit(main(["serve", *sys.argv[1:]], prog="python -m mnistkit.serve"))
