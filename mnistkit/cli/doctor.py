"""``mnistkit doctor``: what works here and how to get the rest."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from mnistkit.cli.common import add_json, print_json

if TYPE_CHECKING:
    import argparse

EXAMPLES = ("mnistkit doctor", "mnistkit doctor --json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_json(parser, "print as JSON")


def run(options: argparse.Namespace) -> int:
    """Print one line for each thing that was looked at."""
    from mnistkit.cli.examine import examine

    findings = examine()
    if options.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
        return 0
    for finding in findings:
        mark = {None: " ", True: "+", False: "-"}[finding.works]
        print(f"{mark} {finding.name:<22}{finding.detail}")
        if finding.cure:
            print(f"    to get it: {finding.cure}")
    return 0
