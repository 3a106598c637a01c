"""What may go on at a time: requests in all and of one client, and the bytes of their bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistkit.serve.http import HTTPError, too_many_requests

if TYPE_CHECKING:
    from mnistkit.serve.settings import Settings


class Budget:
    """Counts; belongs to the thread of one event loop."""

    def __init__(self, settings: Settings) -> None:
        self._most, self._most_of_one = settings.max_requests, settings.max_client_requests
        self._most_memory = settings.max_memory
        self._clients: dict[str, int] = {}
        self.requests = 0
        self.memory = 0

    def enter(self, client: str) -> None:
        """Begin with a request; `leave` must follow.

        Raises:
            HTTPError: 503 when there are too many in all, 429 when this client has too many.
        """
        if self.requests >= self._most:
            raise HTTPError(
                503,
                f"requests: expected at most {self._most} at a time, got one more; try again",
                headers=(("retry-after", "1"),),
            )
        own = self._clients.get(client, 0)
        if own >= self._most_of_one:
            raise too_many_requests(
                f"requests: expected at most {self._most_of_one} of one client at a time, got one more"
            )
        self._clients[client] = own + 1
        self.requests += 1

    def leave(self, client: str, held: int = 0) -> None:
        """The request has been answered, and holds its memory no longer."""
        self.requests -= 1
        self.memory -= held
        own = self._clients[client]
        if own > 1:
            self._clients[client] = own - 1
        else:
            del self._clients[client]

    def reserve(self, size: int) -> None:
        """Take memory for a body; `release` must follow.

        Raises:
            HTTPError: 429, there is none left.
        """
        if self.memory + size > self._most_memory:
            raise too_many_requests(
                f"memory: expected at most {self._most_memory} bytes of requests at a time; try again"
            )
        self.memory += size

    def release(self, size: int) -> None:
        """Give memory back."""
        self.memory -= size
