"""What ``mnistkit export`` makes beside a file: of the file that it has just written, or of an .onnx taken as it is.

One entry in `_KINDS` is one flag.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mnistkit.cli.deployed import (
    KSERVE_OPTIONS,
    KUBERNETES_OPTIONS,
    SHARED,
    TRITON_OPTIONS,
    check_kserve,
    check_kubernetes,
    check_triton,
    make_kserve,
    make_kubernetes,
    make_triton,
)
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_KERAS = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")  # how .keras and .h5 files begin
_WITH_A_FILE = {"model", "json", "quiet", "verbose", "help", "shrink"}  # flags that mean the same for an .onnx
_WITH_SHRINK = {"out", "max_loss", "samples", "data", "labels"}  # likewise, with --shrink


class Made(Protocol):
    """What a maker gives back: ``str`` of it is the line for people."""

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""


@dataclass(frozen=True, slots=True)
class _Kind:
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


def add_published(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    for name, kind in _KINDS.items():
        parser.add_argument(f"--{name}", metavar=kind.metavar, help=kind.help)
        for flag, arguments in kind.options.items():
            parser.add_argument(flag, **arguments)
    for flag, (_, arguments) in SHARED.items():
        parser.add_argument(flag, **arguments)


def check_published(options: argparse.Namespace) -> None:
    """Raise before the work begins where something that was asked for could not be made.

    Raises:
        MnistkitError: A flag lacks the one that it belongs to; or as the makers do.
    """
    for name, kind in _KINDS.items():
        if getattr(options, name) is not None:
            kind.check(options)
            continue
        for flag in kind.options:
            if getattr(options, _attribute(flag)) is not None:
                raise InputError(f"{flag} belongs to --{name}; add --{name} {kind.metavar}, or leave {flag} out")
    for flag, (names, _) in SHARED.items():
        if getattr(options, _attribute(flag)) is not None and all(getattr(options, name) is None for name in names):
            *most, last = (f"--{name}" for name in names)
            raise InputError(f"{flag} belongs to {', '.join(most)} and {last}; add one of them, or leave {flag} out")


def is_published(options: argparse.Namespace) -> bool:
    """Whether anything is to be made beside the file."""
    return any(getattr(options, name) is not None for name in _KINDS)


def needs_pictures(options: argparse.Namespace) -> bool:
    """Whether something is to be made of the file that takes pictures, where the model is a digit classifier."""
    return any(kind.takes_pictures and getattr(options, name) is not None for name, kind in _KINDS.items())


def takes_file(options: argparse.Namespace) -> bool:
    """Whether MODEL is an .onnx file, which is taken as it is; flags of the export have no meaning then.

    Raises:
        InputError: There are some.
    """
    asked = is_published(options) or options.shrink != "none"
    if not asked or not _is_onnx(Path(options.model)):
        return False
    others = _other_flags(options)
    if others:
        raise InputError(
            f"{', '.join(others)}: {options.model} is exported already and taken as it is; leave these flags out, or "
            "give the .keras file"
        )
    return True


def publish(
    options: argparse.Namespace, file: Path, *, picture: Path | None = None, shrunk: Path | None = None
) -> dict[str, Made]:
    """Make all that was asked for.

    Args:
        options: Of the command line.
        file: An exported .onnx file.
        picture: The file of the same model that takes pictures, if any.
        shrunk: The file that ``--shrink`` chose, if any.

    Returns:
        What was made, by the name of its flag.
    """
    wanted = {name: kind for name, kind in _KINDS.items() if getattr(options, name) is not None}
    return {
        name: kind.make(options, (shrunk if kind.takes_shrunk else None) or file, picture)
        for name, kind in wanted.items()
    }


def _attribute(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _is_onnx(path: Path) -> bool:
    """By its content where that says it: a Keras file may have any name."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        head = b""
    return path.suffix == ".onnx" and not head.startswith(_KERAS)


def _other_flags(options: argparse.Namespace) -> list[str]:
    """The flags that were given and are about the export alone."""
    from mnistkit.cli.parser import build_parser

    known = _WITH_A_FILE | set(_KINDS) | (_WITH_SHRINK if options.shrink != "none" else set())
    known |= {_attribute(flag) for flag in (*SHARED, *(flag for kind in _KINDS.values() for flag in kind.options))}
    actions = build_parser(verbs=("export",)).verbs["export"]._actions  # noqa: SLF001  # argparse lists them nowhere else
    return [
        action.option_strings[-1]
        for action in actions
        if action.dest not in known and getattr(options, action.dest, action.default) != action.default
    ]


# --- the kinds ------------------------------------------------------------------------------------------------------


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


_KINDS: dict[str, _Kind] = {
    "web": _Kind(
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
    "hub": _Kind(
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
    "triton": _Kind(
        help="also write the model into a model repository, for Triton or for mnistkit serve --model-repository; takes "
        "an .onnx too",
        check=check_triton,
        make=make_triton,
        takes_shrunk=True,
        options=TRITON_OPTIONS,
    ),
    "kserve": _Kind(
        help="also write an InferenceService of KServe, as YAML; takes an .onnx too",
        check=check_kserve,
        make=make_kserve,
        takes_shrunk=True,
        options=KSERVE_OPTIONS,
        metavar="FILE",
    ),
    "kubernetes": _Kind(
        help="also make a folder for kubectl: Deployment, Service, autoscaler, disruption budget; takes an .onnx too",
        check=check_kubernetes,
        make=make_kubernetes,
        takes_shrunk=True,
        options=KUBERNETES_OPTIONS,
    ),
}
