"""A folder of models in Triton's layout: ``NAME/VERSION/model.onnx``, and perhaps ``NAME/config.pbtxt``.

Of a ``config.pbtxt`` three things are used: which versions to serve, the file's name, and that the model is one for
onnxruntime. Names, shapes and types of tensors are the file's own; batches and threads are the server's flags.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from mnistkit.core.errors import InputError, ModelFileError

_VERSION = re.compile(r"[1-9]\d{0,17}")  # as Triton: others, and those that begin with 0, are left alone
_MODEL, _CONFIG = "model.onnx", "config.pbtxt"
_MOST_CONFIG = 1024**2
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<word>[A-Za-z0-9_.+/-]+)|(?P<mark>[{}\[\]<>:,;])"""
)


def is_model_name(name: str) -> bool:
    """Whether a model can have that name: letters, digits, dots, dashes, underscores."""
    return name.replace("-", "").replace("_", "").replace(".", "").isalnum()


class Repository:
    """Reads the folder anew at every question.

    Args:
        folder: Of the models.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def names(self) -> list[str]:
        """Names of all models, in order; hidden folders and files are none.

        Raises:
            InputError: The folder cannot be read, or a name cannot be served.
        """
        try:
            names = sorted(path.name for path in self._folder.iterdir() if path.name[0] != "." and path.is_dir())
        except OSError as error:
            raise InputError(f"--model-repository: {self._folder} cannot be read ({error.strerror})") from None
        for name in names:
            if not is_model_name(name):
                raise InputError(
                    f"--model-repository: expected folders named with letters, digits, dots, dashes, got {name!r}"
                )
        return names

    def versions(self, name: str) -> dict[str, str]:
        """Paths of the versions to serve, by number, the newest last.

        Raises:
            ModelFileError: There is none, or ``config.pbtxt`` asks for something that is not served.
        """
        place = self._folder / name
        config = _config(place / _CONFIG, name)
        file = str(_one(config, "default_model_filename", _MODEL))
        if Path(file).name != file:
            raise ModelFileError(f"{place / _CONFIG}: default_model_filename: expected a file's name, got {file!r}")
        try:
            found = {int(path.name): path for path in place.iterdir() if _VERSION.fullmatch(path.name)}
        except OSError as error:
            raise ModelFileError(f"{place}: cannot be read ({error.strerror})") from None
        chosen = _choose(sorted(found), config, place / _CONFIG)
        if not chosen:
            raise ModelFileError(f"{place}: expected a model at {name}/1/{file}, got no version to serve")
        return {str(number): str(found[number] / file) for number in chosen}

    def without_paths(self, text: str) -> str:
        """A message for clients: they are not told where the folder is."""
        return text.replace(f"{self._folder}/", "")


class Decisions:
    """What the API was asked to load and unload, shared by the workers of one server.

    Args:
        folder: Where the workers leave things for each other; ``None`` for one alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "decisions"
        self._stamp: tuple[int, int] | None = None
        self._seen: dict[str, list[int]] = {}

    def note(self, name: str, *, load: bool) -> None:
        """Tell the other workers."""
        if self._file is None:
            return
        import fcntl  # where several processes serve; Windows has none

        with open(f"{self._file}.lock", "a") as lock:  # noqa: PTH123 - beside the file
            fcntl.flock(lock, fcntl.LOCK_EX)
            all_ = self._read()
            all_[name] = self._seen[name] = [all_.get(name, [0, 0])[0] + 1, int(load)]
            made = Path(f"{self._file}.new")
            made.write_text(json.dumps(all_))
            made.replace(self._file)

    def news(self) -> dict[str, bool]:
        """What other workers were asked since the last look: whether a model is to be loaded."""
        if self._file is None:
            return {}
        try:
            found = self._file.stat()
        except OSError:
            return {}
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp == self._stamp:
            return {}
        all_ = self._read()
        fresh = {name: bool(load) for name, (count, load) in all_.items() if self._seen.get(name, [0])[0] < count}
        self._seen, self._stamp = all_, stamp
        return fresh

    def _read(self) -> dict[str, list[int]]:
        assert self._file is not None
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, list[int]] = json.loads(self._file.read_bytes())
            return found
        return {}


def _choose(numbers: list[int], config: dict[str, list[Any]], path: Path) -> list[int]:
    """The versions that the policy serves; the newest one without a policy."""
    policy = _one(config, "version_policy", {"latest": [{}]})
    if not isinstance(policy, dict) or len(policy) != 1:
        raise ModelFileError(f"{path}: version_policy: expected one of all, latest, specific, got {policy!r:.60}")
    ((kind, (about, *_)),) = policy.items()
    about = about if isinstance(about, dict) else {}
    try:
        if kind == "all":
            return numbers
        if kind == "latest":
            count = int(_one(about, "num_versions", 1))
            return numbers[-count:] if count > 0 else []
        if kind == "specific":
            wanted = {int(number) for number in about.get("versions", [])}
            return [number for number in numbers if number in wanted]
    except (TypeError, ValueError):
        pass
    raise ModelFileError(f"{path}: version_policy: expected all, latest or specific with numbers, got {policy!r:.60}")


def _config(path: Path, name: str) -> dict[str, list[Any]]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_CONFIG + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > _MOST_CONFIG:
        raise ModelFileError(f"{path}: expected at most {_MOST_CONFIG} bytes, got more")
    config = parse_text_format(content.decode("utf-8", "replace"), str(path))
    for field, expected in (("name", name), ("platform", "onnxruntime_onnx"), ("backend", "onnxruntime")):
        got = _one(config, field, "")
        if got not in {"", expected}:
            raise ModelFileError(f"{path}: {field}: expected {expected}, got {got}")
    return config


def _one(config: dict[str, list[Any]], field: str, default: Any) -> Any:
    return config.get(field, [default])[-1]


def parse_text_format(text: str, path: str) -> dict[str, list[Any]]:
    """Protobuf's text format without a schema: each field's values in a list; numbers stay text.

    Raises:
        ModelFileError: It is something else.
    """
    tokens: list[tuple[str, str]] = []
    place = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ModelFileError(f"{path}: expected protobuf's text format, got {text[place : place + 20]!r}")
        if found.lastgroup is not None:
            tokens.append((found.lastgroup, found[0]))
        place = found.end()
    tokens.append(("end", ""))
    tokens.reverse()
    try:
        return _message(tokens, end="end")
    except (ValueError, RecursionError):
        raise ModelFileError(f"{path}: expected protobuf's text format, got something else") from None


def _message(tokens: list[tuple[str, str]], *, end: str) -> dict[str, list[Any]]:
    """Fields up to the end mark; raises ValueError."""
    fields: dict[str, list[Any]] = {}
    while True:
        kind, text = tokens.pop()
        if kind == "end" and end != "end":
            raise ValueError(text)
        if end in {kind, text}:
            return fields
        if kind == "mark" and text in ",;":
            continue
        if kind != "word":
            raise ValueError(text)
        if tokens[-1] == ("mark", ":"):
            tokens.pop()
        elif tokens[-1][1] not in {"{", "<", "["}:
            raise ValueError(text)
        if tokens[-1] == ("mark", "["):
            tokens.pop()
            values = []
            while tokens[-1] != ("mark", "]"):
                values.append(_value(tokens))
                if tokens[-1] == ("mark", ","):
                    tokens.pop()
            tokens.pop()
            fields.setdefault(text, []).extend(values)
        else:
            fields.setdefault(text, []).append(_value(tokens))


def _value(tokens: list[tuple[str, str]]) -> Any:
    kind, text = tokens.pop()
    if kind == "word":
        return text
    if kind == "text":
        return text[1:-1].replace("\\", "")
    if text in {"{", "<"}:
        return _message(tokens, end={"{": "}", "<": ">"}[text])
    raise ValueError(text)
