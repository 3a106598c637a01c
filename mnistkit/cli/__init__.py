"""The command line. ``parser`` knows the verbs; each verb is a module of this package with that name.

Results go to stdout, everything else to stderr. Errors are one line and exit with 1, usage errors with 2; a traceback
means a bug, or was asked for with ``-v``.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import LostProcessError, MnistkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, *, prog: str = "mnistkit") -> int:
    """Run one command and return its exit code.

    Args:
        argv: The words after the program's name; those of this process by default.
        prog: How the program was called, for the usage line.

    Returns:
        0 done, 1 an error, 130 interrupted, 141 the reader of the output went away. Wrong usage raises
        ``SystemExit(2)``, as ``argparse`` does.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _run(words, prog)
    except Exception as bug:
        _leave_others(1, bug)
        raise
    if code:
        _leave_others(code)
    return code


def _leave_others(code: int, bug: BaseException | None = None) -> None:
    """End this process at once if it has met others of its training, after the traceback of a bug; else do nothing."""
    connection = sys.modules.get("mnistkit.training.distributed.connection")
    if connection is not None:
        connection.leave(code, bug)


def _run(words: list[str], prog: str) -> int:
    if next((word for word in words if not word.startswith("-")), None) == "serve" and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload that is asked for before there is anything to reload
    from mnistkit.cli.parser import parse

    verbose = 0
    try:
        options = parse(words, prog=prog)
        options.words = words  # for processes that are to do the same
        verbose = options.verbose
        warnings.showwarning = _show_warning
        if verbose:
            _show_logs(verbose)
        code: int = options.run(options)
        sys.stdout.flush()  # so that a reader that went away is met here, not at exit
        return code  # noqa: TRY300  # the flush belongs to the same try
    except MnistkitError as error:
        if verbose:
            import traceback

            traceback.print_exception(error)
        if isinstance(error, LostProcessError) and os.environ.get("MNISTKIT_LAUNCHED"):
            return 75  # `mnistkit train --processes` says which process ended first, and how
        print(f"mnistkit: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mnistkit: interrupted; no file was half-written", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away, as `| head` does; what Python would print about it at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _show_logs(verbose: int) -> None:
    import logging

    level = logging.INFO if verbose == 1 else logging.DEBUG
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Warnings as one line; where in the code they arose helps nobody at a terminal."""
    print(f"mnistkit: warning: {message}", file=sys.stderr)
