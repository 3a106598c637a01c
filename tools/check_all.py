"""Check that every generated file is what its tool would write: ``python tools/check_all.py [TOOL ...]``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

TOOLS = ("docs_tables", "notebook", "package_model", "picture_graphs")


def main() -> int:
    """Run each tool with --check; all of them, whichever fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(TOOLS)} (default: all)")
    chosen = parser.parse_args().tools or TOOLS
    if unknown := set(chosen) - set(TOOLS):
        parser.error(f"no such tool: {', '.join(sorted(unknown))}; choose from {', '.join(TOOLS)}")
    codes = [
        subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py"), "--check"], check=False).returncode
        for name in chosen
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
