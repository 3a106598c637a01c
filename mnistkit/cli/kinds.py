"""What ``mnistkit export`` can make beside a file: one entry of `KINDS` is one flag."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mnistkit.cli.deployed import (
    KSERVE_OPTIONS,
    KUBERNETES_OPTIONS,
    TRITON_OPTIONS,
    check_kserve,
    check_kubernetes,
    check_triton,
    make_kserve,
    make_kubernetes,
    make_triton,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from pathlib import Path


class Made(Protocol):
    """What a maker gives back: ``str`` of it is the line for people."""

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing to make, asked for by the flag ``--NAME``.

    Attributes:
        help: Of the flag.
        check: Called before the work begins; raises where it could not be made.
        make: Makes it of an .onnx file. The second path is the file of the same model that takes pictures, if any.
        options: More flags, which have a meaning only with this one: what `add_argument` takes.
        takes_pictures: Whether it is made of that second file, which the export of a digit classifier then writes too.
        takes_shrunk: Whether it is made of the smaller file, where ``--shrink`` has found one.
        metavar: What the flag names.
    """

    help: str
    check: Callable[[argparse.Namespace], None]
    make: Callable[[argparse.Namespace, Path, Path | None], Made]
    options: dict[str, dict[str, Any]]
    takes_pictures: bool = False
    takes_shrunk: bool = False
    metavar: str = "DIR"


def _check_web(options: argparse.Namespace) -> None:
    from mnistkit.publish.web import check_web_folder

    check_web_folder(options.web, ort=options.ort)


def _make_web(options: argparse.Namespace, file: Path, picture: Path | None) -> Made:
    from mnistkit.publish.web import web_folder

    if options.ort is None and not options.quiet and sys.stderr.isatty():
        print("mnistkit: npm gets onnxruntime-web ...", file=sys.stderr, flush=True)
    made = web_folder(picture or file, options.web, ort=options.ort)
    if made.hint and not options.quiet:
        print(f"mnistkit: {made.hint}", file=sys.stderr)
    return made


def _check_hub(options: argparse.Namespace) -> None:
    from mnistkit.publish.hub import check_hub_folder

    check_hub_folder(options.hub, license_id=options.license)


def _make_hub(options: argparse.Namespace, file: Path, picture: Path | None) -> Made:  # noqa: ARG001  # finds it itself
    from mnistkit.publish.hub import hub_folder

    made = hub_folder(file, options.hub, license_id=options.license)
    for note in made.notes if not options.quiet else ():
        print(f"mnistkit: {note}", file=sys.stderr)
    return made


KINDS: dict[str, Kind] = {
    "web": Kind(
        help="also make a folder with a page that runs the model in the browser, for any web host; takes an .onnx too",
        check=_check_web,
        make=_make_web,
        takes_pictures=True,
        options={
            "--ort": {
                "metavar": "DIR",
                "help": "with --web: the npm package onnxruntime-web, a folder or .tgz (default: npm downloads it)",
            }
        },
    ),
    "hub": Kind(
        help="also make a folder for a model hub: card, configuration and the files; takes an .onnx too",
        check=_check_hub,
        make=_make_hub,
        options={
            "--license": {
                "metavar": "ID",
                "help": "with --hub: license of the model, such as mit or apache-2.0 (default: the card asks for it)",
            }
        },
    ),
    "triton": Kind(
        help="also write the model into a model repository, for Triton or for mnistkit serve --model-repository; takes "
        "an .onnx too",
        check=check_triton,
        make=make_triton,
        takes_shrunk=True,
        options=TRITON_OPTIONS,
    ),
    "kserve": Kind(
        help="also write an InferenceService of KServe, as YAML; takes an .onnx too",
        check=check_kserve,
        make=make_kserve,
        takes_shrunk=True,
        options=KSERVE_OPTIONS,
        metavar="FILE",
    ),
    "kubernetes": Kind(
        help="also make a folder for kubectl: Deployment, Service, autoscaler, disruption budget; takes an .onnx too",
        check=check_kubernetes,
        make=make_kubernetes,
        takes_shrunk=True,
        options=KUBERNETES_OPTIONS,
    ),
}
