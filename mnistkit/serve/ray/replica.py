"""One replica: the application behind ASGI, as Ray Serve runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve

from mnistkit.core.errors import ModelFileError
from mnistkit.core.folders import digest
from mnistkit.serve.app import App
from mnistkit.serve.asgi import ASGI
from mnistkit.serve.ray.replica_metrics import ReplicaMetrics
from mnistkit.serve.receiving import GONE
from mnistkit.serve.worker import give_memory_back

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnistkit.serve.asgi import Receive, Send
    from mnistkit.serve.settings import Settings

_ID = b"x-request-id"
_TRY_AGAIN = 503


class Front(ASGI):
    """The application, without what Ray's proxy adds to each answer itself."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request, or follow the replica's life."""

        async def pass_on(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                # the proxy gives each request an id before it comes here, and writes it into the answer
                message["headers"] = [(name, value) for name, value in message["headers"] if name != _ID]
                if message["status"] == GONE:  # or the body went to a replica that died, and the client still waits
                    message["status"] = _TRY_AGAIN
            await send(message)

        await super().__call__(scope, receive, pass_on)

    def check(self) -> None:
        """Raise where the application is not ready.

        Raises:
            RuntimeError: It is stopping.
        """
        if not self._app.ready:
            raise RuntimeError("not ready")


def bind(settings: Settings, digests: Mapping[str, str], options: Mapping[str, Any]) -> Any:
    """The application for Ray.

    Args:
        settings: Of each replica.
        digests: SHA-256 by path, of the files that were checked.
        options: Of the deployment.
    """

    def build() -> Front:
        """In the replica, when it starts."""
        give_memory_back()
        check_same_files(digests)
        return Front(App(settings, metrics=ReplicaMetrics()))

    class Mnistkit:
        """What Ray calls beside requests; `app` is what `build` made."""

        app: Front

        def check_health(self) -> None:
            """Raise where this replica is to be replaced; a hung event loop does not answer at all."""
            self.app.check()

    return serve.deployment(**options)(serve.ingress(build)(Mnistkit)).bind()


def check_same_files(digests: Mapping[str, str]) -> None:
    """Refuse a file that is another one here: replicas would answer differently in silence.

    Raises:
        ModelFileError: It is another one, or missing.
    """
    for path, expected in digests.items():
        try:
            found = digest(Path(path))
        except OSError as error:
            raise ModelFileError(
                f"{path}: cannot be read on this node ({error.strerror}); expected it under this path on every node"
            ) from None
        if found != expected:
            raise ModelFileError(
                f"{path}: expected the file that was deployed, got another on this node; deploy the application again"
            )
