"""Loading and unloading models while the server runs: on SIGHUP, by ``--watch``, and by the protocol's extension."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import MnistkitError
from mnistkit.serve.http import HTTPError, bad_request, truncate
from mnistkit.serve.protocol import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from mnistkit.serve.metrics import Metrics
    from mnistkit.serve.models import Change, Models
    from mnistkit.serve.repository import Decisions
    from mnistkit.serve.settings import Settings


class ModelControl:
    """Changes what is served; belongs to the thread of one event loop.

    Args:
        models: Of the server.
        decisions: Shared with the server's other workers.
        metrics: Tell of it.
        note: Writes a line into the log.
        spawn: Runs something beside requests.
    """

    def __init__(
        self,
        models: Models,
        decisions: Decisions,
        metrics: Metrics,
        *,
        note: Callable[..., None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._models, self._decisions, self._metrics = models, decisions, metrics
        self._note, self._spawn = note, spawn
        self._turn = asyncio.Lock()
        self._seen: dict[str, Any] = {}
        self._tried: dict[str, Any] = {}

    async def reload(self, names: Iterable[str] | None = None) -> None:
        """Load models again, all of them by default; what cannot be loaded goes on as it was."""
        async with self._turn:
            try:
                wanted = list(self._models.names() if names is None else names)
            except MnistkitError as error:
                self._note("not reloaded, the old models serve on", error=str(error))
                return
            for name in wanted:
                await self._refresh(name)

    async def load(self, name: str) -> None:
        """Load a model of the repository, or load it again; as the API asks.

        Raises:
            HTTPError: 400, there is none, or it does not load.
        """
        await asyncio.shield(self._spawn(self._load(name)))

    async def unload(self, name: str) -> None:
        """Serve a model of the repository no longer; requests under way are answered.

        Raises:
            HTTPError: 400, there is none.
        """
        await asyncio.shield(self._spawn(self._unload(name)))

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """See `Models.index`.

        Raises:
            HTTPError: 503, the repository cannot be read.
        """
        try:
            return self._models.index(ready=ready)
        except MnistkitError:
            raise HTTPError(503, "repository: cannot be read now; the server's log has the details") from None

    def look_around(self, *, watch: bool) -> None:
        """Follow what other workers were asked, and files that have changed."""
        if self._turn.locked():
            return
        if news := self._decisions.news():
            self._spawn(self._follow(news))
        elif watch:
            self._watch()

    def _watch(self) -> None:
        """Reload files that changed and then stayed the same for one tick: not one that is being written."""
        try:
            now = self._models.changed()
        except MnistkitError:
            return  # the repository is away: what is served goes on
        settled = [name for name, stamp in now.items() if self._seen.get(name) == stamp != self._tried.get(name)]
        self._seen = now
        if settled:
            self._tried.update({name: now[name] for name in settled})  # refused ones are not tried again unchanged
            self._spawn(self.reload(settled))

    async def _follow(self, news: dict[str, bool]) -> None:
        async with self._turn:
            for name, load in news.items():
                if load:
                    self._models.unloaded.discard(name)
                else:
                    self._models.unloaded.add(name)
                await self._refresh(name)

    async def _load(self, name: str) -> None:
        async with self._turn:
            self._check(name)
            self._models.unloaded.discard(name)
            change = await self._refresh(name)
            self._decisions.note(name, load=True)
        for error in change.errors.values():
            assert self._models.repository is not None
            raise bad_request(f"model {name}: not loaded: {self._models.repository.without_paths(str(error))}")

    async def _unload(self, name: str) -> None:
        async with self._turn:
            self._check(name)
            self._models.unloaded.add(name)
            await self._refresh(name)
            self._decisions.note(name, load=False)

    def _check(self, name: str) -> None:
        try:
            self._models.check_in_repository(name)
        except HTTPError:
            raise
        except MnistkitError as error:
            self._note("the repository cannot be read", error=str(error))
            raise HTTPError(503, "repository: cannot be read now; the server's log has the details") from None

    async def _refresh(self, name: str) -> Change:
        change = await asyncio.to_thread(self._models.prepare, name)
        left = {model.version: model for model in self._models.apply(change)}
        for version, error in change.errors.items():
            self._metrics.reloaded(name, good=False)
            self._note("not reloaded, the old model serves on", model=name, version=version, error=str(error))
        for model in change.fresh:
            self._metrics.serving(model, instead_of=left.pop(model.version, None))
            self._metrics.reloaded(name, good=True)
            weights = model.runtime.metadata.get("weights_sha256", "")[:16]
            self._note("reloaded", model=name, version=model.version, weights=weights)
        for model in left.values():
            self._metrics.gone(model)
            self._note("unloaded", model=name, version=model.version)
        return change


def check_control_body(body: bytes, settings: Settings) -> None:
    """Refuse what a request to load or unload asks for beyond that.

    Raises:
        HTTPError: 400.
    """
    document = inference.parse_json(body, settings) if body else {}
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise bad_request(f"parameters: expected an object, got {truncate(parameters)}")
    for name, value in parameters.items():
        if name != "unload_dependents" or value not in {True, False}:
            raise bad_request(f"parameters: expected none, got {truncate(name)}; files come from the repository alone")


def index_arguments(body: bytes, settings: Settings) -> dict[str, bool]:
    """What a request for the index asks for.

    Raises:
        HTTPError: 400.
    """
    document = inference.parse_json(body, settings) if body else {}
    ready = document.get("ready", False)
    if not isinstance(ready, bool):
        raise bad_request(f"ready: expected true or false, got {truncate(ready)}")
    return {"ready": ready}
