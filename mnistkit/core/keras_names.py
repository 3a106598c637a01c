"""Which names the installed Keras offers, read from its files: importing it would take seconds."""

from __future__ import annotations

import importlib.util


def public_names(module: str) -> frozenset[str]:
    """The public names of ``keras.<module>``, such as ``"optimizers"``; empty where they cannot be told.

    Keras' public modules are lists of imports, which are parsed and not run.
    """
    import ast  # slow to import, as the next
    from pathlib import Path

    spec = importlib.util.find_spec("keras")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        try:
            tree = ast.parse((Path(folder) / module / "__init__.py").read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            continue
        return frozenset(
            alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        )
    return frozenset()
