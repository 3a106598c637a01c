"""How to install a part of mnistkit: the one place that says it."""

from __future__ import annotations

_SOURCE = "."  # not on the package index yet; on release day this becomes "mnistkit" and WHERE ""
WHERE = " in mnistkit's source folder"


def install_command(*extras: str, force: bool = False) -> str:
    """The command alone, for example ``pip install ".[cpu]"``.

    Args:
        extras: Names of extras, as in pyproject.toml.
        force: Also replace packages that are there but broken.
    """
    return f'pip install {"--force-reinstall " if force else ""}"{_SOURCE}[{",".join(extras)}]"'


def install_hint(*extras: str, force: bool = False) -> str:
    """The command in backquotes and where to run it, for the middle of a message; arguments as `install_command`."""
    return f"`{install_command(*extras, force=force)}`{WHERE}"
