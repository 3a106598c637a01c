"""Who may ask: hosts that are served, origins of browsers, the token."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

from mnistkit.serve.http import CLOSE, HTTPError, Request, bad_request, truncate
from mnistkit.serve.settings import read_token

if TYPE_CHECKING:
    from mnistkit.serve.http import Headers
    from mnistkit.serve.settings import Settings

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._~-]+)(?::\d{1,5})?", re.IGNORECASE)
_KNOWN_HOSTS = 256
OPEN = frozenset({"health", "page"})
"""Routes that need no token: an orchestrator and a browser have none."""


class Access:
    """Checks heads of requests.

    Args:
        settings: Of the server.

    Raises:
        InputError: The file of the token cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = settings.token_file
        self._token = read_token(self._file) if self._file else None
        self._hosts = _allowed_hosts(settings)
        self._private = not settings.proxy_headers and (settings.uds is not None or _is_loopback(settings.host))
        self._known_hosts: set[str] = set()
        self.origins = _split(settings.cors_origin)

    def reload(self) -> None:
        """Read the token again.

        Raises:
            InputError: Its file cannot be used; the old one holds.
        """
        if self._file:
            self._token = read_token(self._file)

    def check_host(self, request: Request) -> None:
        """Refuse a request that names no host, or one that is not served here (DNS rebinding).

        Raises:
            HTTPError: 400.
        """
        host = request.headers.get("host")
        if request.authority is not None:
            host = request.authority
        if host in self._known_hosts:
            return
        if host is None:
            if request.http_version in {"1", "1.0"}:
                return
            raise bad_request("header Host: expected one, got none")
        found = _HOST.fullmatch(host)
        if found is None:
            raise bad_request(f"header Host: expected a name and perhaps a port, got {truncate(host)}")
        if self._hosts is not None and found[1].lower() not in self._hosts:
            raise bad_request(
                f"header Host: expected a name that is served here, got {truncate(host)}; see --allowed-hosts"
            )
        if len(self._known_hosts) < _KNOWN_HOSTS:
            self._known_hosts.add(host)

    def check(self, request: Request, route: str) -> None:
        """Refuse a request for a route by its origin and token.

        Raises:
            HTTPError: 401 or 403.
        """
        if request.method == "OPTIONS":
            return
        headers = request.headers
        if request.method == "POST" and ("origin" in headers or "sec-fetch-site" in headers):
            self._check_origin(request)
        if self._token is not None and route not in OPEN and not self.authorized(headers.get("authorization")):
            raise HTTPError(
                401,
                "header Authorization: expected Bearer and the server's token, got none or another",
                headers=(("www-authenticate", "Bearer"), *CLOSE),
            )

    def check_control(self) -> None:
        """Refuse who may not load and unload models: whoever has the token may, and without one this machine alone.

        Raises:
            HTTPError: 403.
        """
        if not self.may_control:
            raise HTTPError(
                403,
                "repository: expected a server with --token-file, or one that listens on a loopback address or a Unix "
                "socket and not behind a proxy; models are loaded and unloaded there alone",
                headers=CLOSE,
            )

    @property
    def may_control(self) -> bool:
        """Whether who passes `check` may load and unload models."""
        return self._token is not None or self._private

    def authorized(self, given: str | None) -> bool:
        """Whether a header ``Authorization`` has the server's token, where there is one."""
        if self._token is None:
            return True
        scheme, _, token = (given or "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token)

    def _check_origin(self, request: Request) -> None:
        """Refuse what another site's page sends: a browser sends simple POSTs without asking."""
        origin = request.headers.get("origin")
        if origin is not None and self._is_allowed(origin):
            return
        site = request.headers.get("sec-fetch-site", "none")
        own = origin is None or origin.partition("://")[2].lower() == request.headers.get("host", "").lower()
        if site not in {"none", "same-origin"} or not own:
            raise HTTPError(
                403,
                f"header Origin: expected this server's or one of --cors-origin, got {truncate(origin or site)}",
                headers=CLOSE,
            )

    def _is_allowed(self, origin: str) -> bool:
        return bool(origin) and ("*" in self.origins or origin in self.origins)

    def cors(self, request: Request) -> Headers:
        """What a browser wants to be told, where origins are allowed at all."""
        if not self.origins:
            return ()
        origin = request.headers.get("origin", "")
        if not self._is_allowed(origin):
            return (("vary", "Origin"),)
        headers: Headers = (
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, POST"),
            (
                "access-control-allow-headers",
                "authorization, content-type, inference-header-content-length, x-request-id",
            ),
            ("access-control-expose-headers", "inference-header-content-length, retry-after, x-request-id"),
            ("vary", "Origin"),
        )
        if request.headers.get("access-control-request-private-network") == "true":
            headers += (("access-control-allow-private-network", "true"),)
        return headers


def _split(text: str | None) -> frozenset[str]:
    return frozenset(filter(None, (text or "").replace(" ", "").split(",")))


def _allowed_hosts(settings: Settings) -> frozenset[str] | None:
    """Names to answer to, in small letters; ``None`` for any."""
    if settings.allowed_hosts is not None:
        names = frozenset(name.lower() for name in _split(settings.allowed_hosts))
        return None if "*" in names else names
    if settings.uds is None and _is_loopback(settings.host):
        return _LOOPBACK | {_as_in_url(settings.host)}
    return None


def _is_loopback(host: str) -> bool:
    return _as_in_url(host) in _LOOPBACK or host.startswith("127.")


def _as_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()
