"""Install the packages of examples/node, where Node.js is: what its test needs.

python tools/node_packages.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "examples" / "node"


def main() -> int:
    """Run npm, or say that it is not there."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed; the Node.js example is not tested", file=sys.stderr)
        return 0
    return subprocess.run([npm, "install", "--no-audit", "--no-fund"], cwd=FOLDER, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
