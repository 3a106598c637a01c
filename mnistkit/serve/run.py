"""Start a server of one process or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mnistkit.serve.settings import Settings


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code.

    Raises:
        MnistkitError: The server cannot start: a model, an address, a certificate, a missing package.
    """
    if settings.workers > 1:
        from mnistkit.serve.workers import supervise

        return supervise(settings)
    from mnistkit.serve.server import bind, check_packages, serve

    check_packages()
    listener = bind(settings)
    with listener:
        serve(settings, listener)
    return 0
