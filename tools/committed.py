"""Files that a tool writes and that are committed: write them, or check that they are up to date."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def parser(description: str) -> argparse.ArgumentParser:
    """The options that all tools have."""
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument("--check", action="store_true", help="write nothing; exit 1 if a committed file is out of date")
    return made


def write_or_check(contents: Mapping[Path, bytes], *, check: bool, tool: str) -> int:
    """Write the files; or name on stderr each one that has other content.

    Args:
        contents: What each file must hold.
        check: Write nothing.
        tool: How to write them, for the message.

    Returns:
        The exit status: 1 if a file was found to be out of date.
    """
    outdated = []
    for path, content in contents.items():
        if path.is_file() and path.read_bytes() == content:
            continue
        outdated.append(path)
        if not check:
            path.write_bytes(content)
    for path in outdated:
        print(f"{path} is out of date; run: python {tool}" if check else f"wrote {path}", file=sys.stderr)
    return int(check and bool(outdated))
