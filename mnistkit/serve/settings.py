"""What an operator can set: one table makes the dataclass, the command line, the environment and the documentation."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.devices import NAMES
from mnistkit.core.errors import InputError
from mnistkit.serve.repository import is_model_name

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT = "MNISTKIT_SERVE_"
"""Before a flag's name in capitals: the variable that sets it."""
_HIGHEST_PORT = 65535
_MOST_THREADS = 1024  # each is started when the server starts
_GROUPS = ("address", "model", "limits", "time", "security", "operations")


def _flag(default: Any, text: str, group: str) -> Any:
    return field(default=default, metadata={"help": text, "group": group})


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a server; every field but ``models`` is the flag of that name, with dashes."""

    models: tuple[tuple[str, str], ...] = ()
    """Pairs of model name and path."""

    host: str = _flag("127.0.0.1", "address to listen on", "address")
    port: int = _flag(8000, "port to listen on; 0 takes a free one", "address")
    uds: str | None = _flag(None, "path of a Unix socket to listen on instead of host and port", "address")
    grpc_port: int | None = _flag(None, "port for gRPC as well (needs the extra grpc)", "address")
    admin_port: int | None = _flag(
        None, "port of its own for health, metrics and the repository, where no limit refuses the first two", "address"
    )
    http2: bool = _flag(
        False, "speak HTTP/2 as well; a connection that sends nothing is then held, so only behind a proxy", "address"
    )
    workers: int = _flag(1, "processes that serve; one that dies is replaced", "address")
    model_repository: str | None = _flag(
        None, "folder of models, NAME/VERSION/model.onnx, that the API can load and unload", "model"
    )
    device: str = _flag("auto", f"{', '.join(NAMES)}; cuda:N for one of several", "model")
    provider_option: tuple[str, ...] = _flag(
        (), "KEY=VALUE of the device's execution provider, may be repeated; in the environment separated by spaces",
        "model",
    )  # fmt: skip
    threads: int | None = _flag(None, "threads inside one operator (default: one for each usable processor)", "model")
    concurrency: int = _flag(1, "runs of one model at a time, beside the small ones that run at once", "model")
    max_batch: int = _flag(32, "rows gathered into one run while the model is busy; 1 turns batching off", "model")
    inline_ms: float = _flag(
        0.5, "requests estimated below this many milliseconds run at once, without the queue", "model"
    )
    watch: bool = _flag(False, "reload a model when its file changes (SIGHUP always does)", "model")
    max_queue: int = _flag(128, "requests that may wait for a model; more get 429", "limits")
    max_requests: int = _flag(1024, "requests being received or answered; more get 503", "limits")
    max_client_requests: int = _flag(512, "the same of one client address; more get 429", "limits")
    max_memory: int = _flag(256 * 1024**2, "bytes of all request bodies held at a time; more get 429", "limits")
    max_body: int = _flag(16 * 1024**2, "bytes of a request body; more get 413", "limits")
    max_json: int = _flag(
        4 * 1024**2, "bytes of JSON in a request; more get 413 (binary tensors cost far less)", "limits"
    )
    max_elements: int = _flag(4 * 1024**2, "elements of one tensor", "limits")
    max_pixels: int = _flag(64_000_000, "pixels of a picture, checked before it is decoded", "limits")
    max_pictures: int = _flag(32, "pictures in one request", "limits")
    max_json_depth: int = _flag(16, "levels of nesting in a JSON body", "limits")
    max_header_bytes: int = _flag(16 * 1024, "bytes of request line and headers; more get 431", "limits")
    max_headers: int = _flag(100, "header lines of a request; more get 431 (100 at most)", "limits")
    max_connections: int = _flag(1000, "open connections of a worker; more wait until one of them closes", "limits")
    timeout: float = _flag(30.0, "seconds from the first byte of a request to its answer, then 504", "time")
    receive_timeout: float = _flag(
        20.0, "seconds to send the head of a request, then the connection is closed; and the body, then 408", "time"
    )
    keep_alive: float | None = _flag(
        None, "without effect, accepted for older scripts: an idle connection is closed after --receive-timeout", "time"
    )
    grace: float = _flag(5.0, "seconds between not ready and closing the listener when stopping", "time")
    stop_timeout: float = _flag(30.0, "seconds that requests in flight get to finish when stopping", "time")
    token_file: str | None = _flag(
        None, "file with the bearer token that requests must carry; read again on SIGHUP", "security"
    )
    tls_cert: str | None = _flag(None, "certificate chain in PEM, for HTTPS; read again on SIGHUP", "security")
    tls_key: str | None = _flag(None, "its private key in PEM", "security")
    tls_client_ca: str | None = _flag(None, "authorities in PEM of which clients must have a certificate", "security")
    allowed_hosts: str | None = _flag(
        None, "Host names to answer to, separated by commas, * for all (default: those of a loopback --host, else all)",
        "security",
    )  # fmt: skip
    cors_origin: str | None = _flag(
        None, "origins that browsers may call from, separated by commas; * for all", "security"
    )
    proxy_headers: bool = _flag(
        False, "take the client's address from X-Forwarded-For; only behind a proxy that sets it", "security"
    )
    access_log: str = _flag("-", "file for one JSON line a request; - is stderr, none turns it off", "operations")

    def __post_init__(self) -> None:
        if not self.models and self.model_repository is None:
            from mnistkit.digits.classifier import default_model  # with NumPy, which --help does without

            object.__setattr__(self, "models", (("mnist", str(default_model())),))
        names = [name for name, _ in self.models]
        if len(set(names)) != len(names):
            raise InputError(f"--model: expected different names, got {', '.join(names)}")
        self._check_numbers()
        if not self.host:
            raise InputError("--host: expected an address, got none")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert and --tls-key: expected both or neither")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise InputError("--tls-client-ca: expected --tls-cert and --tls-key with it, got neither")
        origins = (self.cors_origin or "").split(",")
        if "null" in (origin.strip() for origin in origins):
            raise InputError("--cors-origin: expected origins or *, got null, which every sandboxed page sends")

    def _check_numbers(self) -> None:
        at_least_one = (
            "workers concurrency max_batch max_queue max_requests max_client_requests max_memory max_body max_json"
            " max_elements max_pixels max_pictures max_json_depth max_header_bytes max_headers max_connections"
        )
        for name in at_least_one.split():
            if getattr(self, name) < 1:
                raise InputError(f"{_flag_name(name)}: expected at least 1, got {getattr(self, name)}")
        if self.threads is not None and not 1 <= self.threads <= _MOST_THREADS:
            raise InputError(f"--threads: expected 1 to {_MOST_THREADS}, got {self.threads}")
        for name in ("timeout", "receive_timeout", "stop_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{_flag_name(name)}: expected seconds above 0, got {getattr(self, name)}")
        for name in ("grace", "inline_ms"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{_flag_name(name)}: expected a number from 0, got {getattr(self, name)}")
        for name in ("port", "grpc_port", "admin_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= _HIGHEST_PORT:
                raise InputError(f"{_flag_name(name)}: expected a port from 0 to {_HIGHEST_PORT}, got {port}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every setting, in groups."""
    parser.add_argument(
        "--model",
        action="append",
        default=argparse.SUPPRESS,
        metavar="[NAME=]PATH",
        help="a model file, may be repeated; the name is the file's unless given (default: predict's, named mnist)",
    )
    parser.add_argument(
        "--config",
        default=argparse.SUPPRESS,
        metavar="FILE",
        help=f"TOML file of these flags without their dashes; {ENVIRONMENT}* variables and flags win over it",
    )
    groups = {name: parser.add_argument_group(name) for name in _GROUPS}
    for item in _flags():
        text = item.metadata["help"]
        group = groups[item.metadata["group"]]
        if _repeats(item):
            group.add_argument(
                _flag_name(item.name), action="append", metavar="KEY=VALUE", default=argparse.SUPPRESS, help=text
            )
            continue
        if item.type == "bool":
            group.add_argument(_flag_name(item.name), action="store_true", default=argparse.SUPPRESS, help=text)
            continue
        told = "" if item.default is None or "default:" in text else f" (default: {item.default})"
        group.add_argument(
            _flag_name(item.name), type=_kind(item), default=argparse.SUPPRESS, help=(text + told).replace("%", "%%")
        )


def from_flags(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from a parsed command line, then the environment, then the file of ``--config``.

    Raises:
        InputError: A value is not what it should be.
    """
    given = vars(options)
    config = given.get("config", environment.get(f"{ENVIRONMENT}CONFIG"))
    values = _from_file(config) if config else {}
    values |= _from_environment(environment)
    values |= {name: given[name] for name in ("model", *(item.name for item in _flags())) if name in given}
    models = values.pop("model", ())
    values |= {item.name: tuple(values[item.name]) for item in _flags() if _repeats(item) and item.name in values}
    return Settings(models=tuple(_model(entry) for entry in models), **values)


def read_token(path: str) -> bytes:
    """The bearer token in a file.

    Raises:
        InputError: The file cannot be read or is empty.
    """
    try:
        token = Path(path).read_bytes().strip()
    except OSError as error:
        raise InputError(f"--token-file: {path} cannot be read ({error.strerror})") from None
    if not token:
        raise InputError(f"--token-file: expected a token in {path}, got an empty file")
    return token


def flag_table() -> str:
    """The flags as a Markdown table, for the documentation."""
    rows = [
        f"| `{_flag_name(item.name)}` | {item.default if item.default not in (None, ()) else ''} | "
        f"{item.metadata['help']} |"
        for group in _GROUPS
        for item in _flags()
        if item.metadata["group"] == group
    ]
    return "\n".join(["| flag | default | meaning |", "|---|---|---|", *rows])


def _from_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - as tomllib wants it
            found = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise InputError(f"--config: {path} cannot be read ({error})") from None
    known = {item.name: item for item in _flags()}
    values: dict[str, Any] = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if name == "model" or (name in known and _repeats(known[name])):
            values[name] = [value] if isinstance(value, str) else value
            if not isinstance(values[name], list) or not all(isinstance(entry, str) for entry in values[name]):
                raise InputError(f"--config: {path}: {key}: expected text or a list of texts, got {value!r}")
            continue
        if name not in known:
            raise InputError(f"--config: {path}: expected names of flags, got {key}")
        wanted = bool if known[name].type == "bool" else _kind(known[name])
        if wanted is float and type(value) is int:
            value = float(value)  # noqa: PLW2901
        if type(value) is not wanted:
            raise InputError(f"--config: {path}: {key}: expected {wanted.__name__}, got {value!r}")
        values[name] = value
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for item in _flags():
        variable = f"{ENVIRONMENT}{item.name.upper()}"
        text = environment.get(variable)
        if text is None:
            continue
        if _repeats(item):
            values[item.name] = text.split()
            continue
        if item.type == "bool":
            if text.lower() not in {"0", "1", "true", "false"}:
                raise InputError(f"{variable}: expected 0, 1, true or false, got {text!r}")
            values[item.name] = text.lower() in {"1", "true"}
            continue
        try:
            values[item.name] = _kind(item)(text)
        except ValueError:
            raise InputError(f"{variable}: expected {_kind(item).__name__}, got {text!r}") from None
    if models := environment.get(f"{ENVIRONMENT}MODEL"):
        values["model"] = models.split(os.pathsep)
    return values


def _flag_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _kind(item: dataclasses.Field[Any]) -> Any:
    return {"int": int, "float": float}.get(str(item.type).removesuffix(" | None"), str)


def _repeats(item: dataclasses.Field[Any]) -> bool:
    return str(item.type).startswith("tuple")


def _flags() -> list[dataclasses.Field[Any]]:
    return [item for item in dataclasses.fields(Settings) if "help" in item.metadata]


def _model(entry: str) -> tuple[str, str]:
    name, given, path = entry.partition("=")
    if not given or os.sep in name:
        name, path = Path(entry).stem, entry
    if not is_model_name(name):
        raise InputError(f"--model: expected a name of letters, digits, dots, dashes, got {name!r}; use NAME=PATH")
    return name, path
