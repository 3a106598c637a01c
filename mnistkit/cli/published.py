"""What ``mnistkit export`` makes beside a file: of the file that it has just written, or of an .onnx taken as it is.

`mnistkit.cli.kinds` says what there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.cli.deployed import SHARED
from mnistkit.cli.kinds import KINDS
from mnistkit.core.errors import InputError

if TYPE_CHECKING:
    import argparse

    from mnistkit.cli.kinds import Made

_KERAS = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")  # how .keras and .h5 files begin
_WITH_A_FILE = {"model", "json", "quiet", "verbose", "help", "shrink"}  # flags that mean the same for an .onnx
_WITH_SHRINK = {"out", "max_loss", "samples", "data", "labels"}  # likewise, with --shrink


def add_published(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    for name, kind in KINDS.items():
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
    for name, kind in KINDS.items():
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
    return any(getattr(options, name) is not None for name in KINDS)


def needs_pictures(options: argparse.Namespace) -> bool:
    """Whether something is to be made of the file that takes pictures, where the model is a digit classifier."""
    return any(kind.takes_pictures and getattr(options, name) is not None for name, kind in KINDS.items())


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
    wanted = {name: kind for name, kind in KINDS.items() if getattr(options, name) is not None}
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

    known = _WITH_A_FILE | set(KINDS) | (_WITH_SHRINK if options.shrink != "none" else set())
    known |= {_attribute(flag) for flag in (*SHARED, *(flag for kind in KINDS.values() for flag in kind.options))}
    actions = build_parser(verbs=("export",)).verbs["export"]._actions  # noqa: SLF001  # argparse lists them nowhere else
    return [
        action.option_strings[-1]
        for action in actions
        if action.dest not in known and getattr(options, action.dest, action.default) != action.default
    ]
