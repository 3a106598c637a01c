"""Keep what TensorFlow says of itself when it is imported off the terminal.

On processors where it enables oneDNN by itself it says so before its logging is set up, and no variable silences that.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDERR = 2
_START_UP = re.compile(rb"WARNING: All log messages before absl::InitializeLog\(\)|I\d{4} [\d:.]+ +\d+ \S+\]")


@contextlib.contextmanager
def startup_lines_held_back() -> Iterator[None]:
    """Let through what an import writes to standard error, but for TensorFlow's information about itself.

    No variable silences what it logs before its logging is set up. C++ writes past ``sys.stderr``, so this is done at
    the descriptor.
    """
    try:
        kept = os.dup(_STDERR)
    except OSError:  # closed: there is nothing to keep quiet
        yield
        return
    with tempfile.TemporaryFile() as written:
        _flush()
        os.dup2(written.fileno(), _STDERR)
        try:
            yield
        finally:
            _flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
            written.seek(0)
            lines = [line for line in written if not _START_UP.match(line)]
            with open(_STDERR, "wb", closefd=False) as errors:
                errors.writelines(lines)


def _flush() -> None:
    if sys.stderr is not None:  # as under pythonw
        sys.stderr.flush()
