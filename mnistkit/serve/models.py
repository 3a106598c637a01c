"""The models being served, by name and version: replaced as a whole, never half."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError, MnistkitError, ModelFileError
from mnistkit.serve.http import HTTPError, truncate
from mnistkit.serve.protocol.inference import VERSION
from mnistkit.serve.repository import Repository
from mnistkit.serve.served_model import ServedModel, file_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mnistkit.serve.settings import Settings

    Versions = dict[str, ServedModel]
    """By number, the newest last."""


@dataclass(slots=True)
class Change:
    """What loading one name again came to; nothing is served differently before `Models.apply`.

    Attributes:
        name: Of the model.
        versions: To serve from now on; none of them when the model is gone.
        fresh: Those that were loaded.
        errors: By version, why another one was not; a version that was served goes on as it was.
    """

    name: str
    versions: Versions = field(default_factory=dict)
    fresh: list[ServedModel] = field(default_factory=list)
    errors: dict[str, MnistkitError] = field(default_factory=dict)


class Models:
    """All models of a server; belongs to the thread of one event loop, but for `prepare`.

    Args:
        settings: Of the server.
        observe: Called with a model's name and the rows of each run.

    Raises:
        MnistkitError: A model cannot be served.
    """

    def __init__(self, settings: Settings, *, observe: Callable[[str, int], None]) -> None:
        self._settings, self._observe = settings, observe
        self._given = dict(settings.models)
        self.repository = Repository(settings.model_repository) if settings.model_repository is not None else None
        self._served: dict[str, Versions] = {}
        self._newest: dict[str, ServedModel] = {}
        self.unloaded: set[str] = set()
        self.problems: dict[tuple[str, str], str] = {}
        """Why a version of a model of the repository is not served."""
        for name in self.names():
            change = self.prepare(name)
            for error in change.errors.values():
                raise error
            self.apply(change)

    def __iter__(self) -> Iterator[ServedModel]:
        for versions in self._served.values():
            yield from versions.values()

    @property
    def default(self) -> str:
        """Name of the model that answers where none is named: the first one."""
        return next(iter(self._served), "")

    def names(self) -> list[str]:
        """Names that are served, or would be if they were loaded again.

        Raises:
            InputError: The repository cannot be read.
        """
        names = list(self._given)
        for name in self.repository.names() if self.repository is not None else ():
            if name in self._given:
                raise InputError(f"--model {name}: expected another name than those in --model-repository")
            if name not in self.unloaded:
                names.append(name)
        return names + [name for name in self._served if name not in names]

    def get(self, name: str, version: str | None = None, *, discreet: bool = False) -> ServedModel:
        """The model of that name.

        Args:
            name: Of the model.
            version: Its number; the newest without one.
            discreet: Say nothing of the names that there are.

        Raises:
            HTTPError: 404, there is none, or not in that version.
        """
        model = self._newest.get(name) if not version else self._served.get(name, {}).get(version)
        if model is not None:
            return model
        if name in self._served:
            numbers = ", ".join(self._served[name])
            raise HTTPError(404, f"version of {name}: expected {numbers}, got {truncate(version)}")
        if discreet or not self._served:
            raise HTTPError(404, f"model: expected the name of a model, got {truncate(name)}")
        raise HTTPError(404, f"model: expected one of {', '.join(self._served)}, got {truncate(name)}")

    def metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        """The protocol's metadata of a model.

        Raises:
            HTTPError: As `get`.
        """
        return {**self.get(name, version).metadata(), "versions": list(self._served[name])}

    def index(self, *, ready: bool = False) -> list[dict[str, str]]:
        """Every model's state, as the protocol's extension for repositories tells it.

        Args:
            ready: Only those that are served.
        """
        rows = [{"name": model.name, "version": model.version, "state": "READY", "reason": ""} for model in self]
        if ready:
            return rows
        served = {(row["name"], row["version"]) for row in rows}
        for (name, version), reason in self.problems.items():
            if (name, version) not in served:
                rows.append({"name": name, "version": version, "state": "UNAVAILABLE", "reason": reason})
        known = {row["name"] for row in rows}
        for name in self.repository.names() if self.repository is not None else ():
            if name not in known:
                reason = "unloaded" if name in self.unloaded else "not loaded yet"
                rows.append({"name": name, "version": "", "state": "UNAVAILABLE", "reason": reason})
        return rows

    def changed(self) -> dict[str, Any]:
        """Names of models whose files are not those that were loaded, and what shows it."""
        found: dict[str, Any] = {}
        for name in self.names():
            served = self._served.get(name, {})
            try:
                paths = self._paths(name)
            except MnistkitError:
                continue  # as a file that is gone: what is served goes on until somebody asks
            now = tuple((version, file_stamp(path)) for version, path in paths.items())
            if any(stamp is None for _, stamp in now):
                continue
            if now != tuple((version, model.stamp) for version, model in served.items()):
                found[name] = now
        return found

    def prepare(self, name: str) -> Change:
        """Load and prove a name's files again, without serving them yet; safe in another thread.

        A version that does not load, or has other tensors than the one that is served, is left as it was.
        """
        change = Change(name)
        served = self._served.get(name, {})
        try:
            paths = self._paths(name)
        except MnistkitError as error:
            change.versions = dict(served)
            change.errors[""] = error
            return change
        for version, path in paths.items():
            old = served.get(version)
            try:
                new = self._load(name, version, path)
                if old is not None:
                    _check_same(old, new, path)
            except MnistkitError as error:
                change.errors[version] = error
                if old is not None:
                    change.versions[version] = old
                continue
            change.versions[version] = new
            change.fresh.append(new)
        return change

    def apply(self, change: Change) -> list[ServedModel]:
        """Serve it from now on; requests under way finish on the old ones, which are given back."""
        name = change.name
        old = self._served.get(name, {})
        self.problems = {key: reason for key, reason in self.problems.items() if key[0] != name}
        if self.repository is not None:
            for version, error in change.errors.items():
                self.problems[name, version] = self.repository.without_paths(str(error))
        if change.versions:
            self._served = {**self._served, name: change.versions}
            self._newest = {**self._newest, name: list(change.versions.values())[-1]}
        else:
            self._served = {known: versions for known, versions in self._served.items() if known != name}
            self._newest = {known: model for known, model in self._newest.items() if known != name}
        kept = set(map(id, change.versions.values()))
        left = [model for model in old.values() if id(model) not in kept]
        for model in left:
            model.batcher.close()
        return left

    def check_in_repository(self, name: str) -> None:
        """Refuse a name that cannot be loaded and unloaded.

        Raises:
            HTTPError: 400.
        """
        if self.repository is None:
            raise HTTPError(400, "repository: expected a server with --model-repository, got one without")
        if name in self._given or (name not in self.repository.names() and name not in self._served):
            raise HTTPError(400, f"model: expected the name of one in the repository, got {truncate(name)}")

    def _paths(self, name: str) -> dict[str, str]:
        """Paths by version; none where a model of the repository is gone or unloaded."""
        if name in self._given:
            return {VERSION: self._given[name]}
        assert self.repository is not None
        if name in self.unloaded or name not in self.repository.names():
            return {}
        return self.repository.versions(name)

    def _load(self, name: str, version: str, path: str) -> ServedModel:
        try:
            return ServedModel(
                name, path, version=version, settings=self._settings, observe=partial(self._observe, name)
            )
        except MnistkitError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise ModelFileError(f"{path}: cannot be used ({type(error).__name__}: {error})") from error


def check_models(settings: Settings) -> None:
    """Refuse a bad model once, with one line, rather than once in every process that will serve it.

    Raises:
        MnistkitError: A model cannot be served.
    """
    for model in Models(settings, observe=lambda *_: None):
        model.batcher.close()


def _check_same(old: ServedModel, new: ServedModel, path: str) -> None:
    if new.takes != old.takes:
        new.batcher.close()
        raise ModelFileError(
            f"{path}: expected the tensors of the model being served, {'; '.join(old.takes)}, "
            f"got {'; '.join(new.takes)}; restart the server to change them"
        )
