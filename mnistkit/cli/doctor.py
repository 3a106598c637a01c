"""``mnistkit doctor``: what works here and how to get the rest."""

from __future__ import annotations

import dataclasses
from itertools import groupby
from typing import TYPE_CHECKING

from mnistkit.cli.common import add_json, print_json

if TYPE_CHECKING:
    import argparse

EXAMPLES = ("mnistkit doctor", "mnistkit doctor --deep", "mnistkit doctor --json")
NOTES = """\
Marks: + works, . optional and not installed, ! installed but broken.
Exit codes: 0 nothing is broken, 1 something is; what is optional and not installed is not broken."""

_MARKS = {"works": "+", "missing": ".", "broken": "!", "fact": " "}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("--deep", action="store_true", help="load each Keras backend and compute with it (seconds)")
    add_json(parser, "print as JSON")


def run(options: argparse.Namespace) -> int:
    """Print one line for each thing that was looked at; 1 where something is broken."""
    from mnistkit.cli.examine import BROKEN, examine

    findings = examine(deep=options.deep)
    if options.json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for group, members in groupby(findings, key=lambda finding: finding.group):
            print(group)
            for finding in members:
                print(f"  {_MARKS[finding.state]} {finding.name:<22}{finding.detail}")
                if finding.cure:
                    print(f"      to get it: {finding.cure}")
    return int(any(finding.state == BROKEN for finding in findings))
