"""``mnistkit predict --out``: many pictures into a table."""

from __future__ import annotations

import datetime as dt
import sys
import time
from typing import TYPE_CHECKING

from mnistkit.cli.common import device_options
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse

    from mnistkit.digits.bulk import Progress

_SECONDS_BETWEEN = 0.5  # two lines of progress


def run_in_bulk(options: argparse.Namespace) -> int:
    """Read everything into the table; a picture that cannot be read makes the exit code 1."""
    from mnistkit.digits.bulk import RayCluster, read_in_bulk

    for flag in ("signs", "show", "show-dir", "json"):
        if getattr(options, flag.replace("-", "_")):
            raise InputError(f"--{flag} does not go with --out; the table has digits and confidences")
    for flag in ("ray_address", "workers"):
        if getattr(options, flag) and not options.ray:
            raise InputError(f"--{flag.replace('_', '-')} goes with --ray")
    cluster = RayCluster(options.ray_address, options.workers) if options.ray else None
    line = ProgressLine(shown=not options.quiet and sys.stderr.isatty())
    try:
        report = read_in_bulk(
            options.pictures,
            options.out,
            model=options.model,
            **device_options(options),
            array=options.array,
            number=options.number,
            min_confidence=options.min_confidence,
            progress=line.update,
            ray=cluster,
        )
    except KeyboardInterrupt:
        line.end()
        if line.last is not None and not options.quiet:
            done = f"{line.last.done:,} of {line.last.count:,}"
            print(f"mnistkit: {done} are read; the same command goes on from there", file=sys.stderr)
        raise
    line.end()
    for error in report.errors:
        print(f"mnistkit: {error}", file=sys.stderr)
    if report.failed > len(report.errors):
        more = report.failed - len(report.errors)
        print(f"mnistkit: and {more:,} more; the column error of {report.path} has them all", file=sys.stderr)
    if not options.quiet:
        earlier = f", {report.before:,} of them by an earlier run" if report.before else ""
        read = f"{report.count - report.failed:,} read, {report.failed:,} not{earlier}"
        print(f"wrote {report.path}: {read}{line.rate()}")
    return int(report.failed > 0)


class ProgressLine:
    """One line of a terminal that says how far a run is, how fast, and how long it will take.

    Args:
        shown: Whether there is a terminal to show it on.
    """

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._begun = time.monotonic()
        self._written = 0.0
        self.last: Progress | None = None

    def update(self, progress: Progress) -> None:
        """Take the newest figures; write them twice a second at most."""
        self.last = progress
        now = time.monotonic()
        if not self._shown or now - self._written < _SECONDS_BETWEEN:
            return
        self._written = now
        speed = self._speed()
        left = dt.timedelta(seconds=round((progress.count - progress.done) / speed)) if speed else "?"
        text = f"{progress.done:,} of {progress.count:,} read, {progress.failed:,} not; {speed:,.0f}/s, {left} left"
        print(f"\r{text:<78}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._written:
            print(file=sys.stderr)

    def rate(self) -> str:
        """How many were read a second, for the last line."""
        return f" ({self._speed():,.0f}/s)" if self._speed() else ""

    def _speed(self) -> float:
        if self.last is None:
            return 0.0
        return (self.last.done - self.last.before) / max(time.monotonic() - self._begun, 1e-9)
