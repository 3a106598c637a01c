"""Install the packages of the examples in JavaScript, where Node.js is: what their tests need.

python tools/node_packages.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def main() -> int:
    """Run npm, or say that it is not there."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not installed; the examples in JavaScript are not tested", file=sys.stderr)
        return 0
    for package in sorted(EXAMPLES.glob("*/package.json")):
        code = subprocess.run([npm, "install", "--no-audit", "--no-fund"], cwd=package.parent, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
