"""What an operator can set: one table makes the dataclass, the command line and the documentation."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import InputError
from mnistkit.digits.classifier import default_model

if TYPE_CHECKING:
    import argparse


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a server; every field but ``models`` is the flag of that name, with dashes."""

    models: tuple[tuple[str, str], ...] = ()
    """Pairs of model name and path."""

    host: str = _flag("127.0.0.1", "address to listen on")
    port: int = _flag(8000, "port to listen on; 0 takes a free one")
    grpc_port: int | None = _flag(None, "port for gRPC as well (needs the extra grpc)")
    workers: int = _flag(1, "processes that serve; one that dies is replaced")
    device: str = _flag("auto", "auto, cpu, cuda or cuda:N")
    threads: int | None = _flag(None, "threads inside one operator (default: one for each usable processor)")
    concurrency: int = _flag(1, "runs of one model at a time, beside the small ones that run at once")
    max_batch: int = _flag(32, "rows gathered into one run while the model is busy; 1 turns batching off")
    max_queue: int = _flag(128, "requests that may wait for a model; more get 429")
    timeout: float = _flag(30.0, "seconds for queue and compute of a request, then 504")
    inline_ms: float = _flag(0.5, "requests estimated below this many milliseconds run at once, without the queue")
    max_body: int = _flag(16 * 1024**2, "bytes of a request body; more get 413")
    max_elements: int = _flag(4 * 1024**2, "elements of one tensor")
    max_pixels: int = _flag(64_000_000, "pixels of a picture, checked before it is decoded")
    max_pictures: int = _flag(32, "pictures in one request")
    max_json_depth: int = _flag(16, "levels of nesting in a JSON body")
    max_header_bytes: int = _flag(16 * 1024, "bytes of request line and headers; more get 431")
    max_headers: int = _flag(100, "header lines of a request; more get 431")
    max_connections: int = _flag(1000, "open connections; more get 503 and are closed")
    receive_timeout: float = _flag(20.0, "seconds to send a whole request, then 408; also to take the response")
    keep_alive: float = _flag(75.0, "seconds an idle connection stays open")
    grace: float = _flag(5.0, "seconds between not ready and closing the listener when stopping")
    stop_timeout: float = _flag(30.0, "seconds that requests in flight get to finish when stopping")
    watch: bool = _flag(False, "reload a model when its file changes (SIGHUP always does)")
    token_file: str | None = _flag(None, "file with the bearer token that requests must carry")
    tls_cert: str | None = _flag(None, "certificate chain in PEM, for HTTPS")
    tls_key: str | None = _flag(None, "its private key in PEM")
    cors_origin: str | None = _flag(None, "origins that browsers may call from, separated by commas; * for all")
    access_log: str = _flag("-", "file for one JSON line a request; - is stderr, none turns it off")

    def __post_init__(self) -> None:
        if not self.models:
            object.__setattr__(self, "models", (("mnist", str(default_model())),))
        names = [name for name, _ in self.models]
        if len(set(names)) != len(names):
            raise InputError(f"--model: expected different names, got {', '.join(names)}")
        at_least_one = (
            "workers concurrency max_batch max_queue max_body max_elements max_pixels max_pictures max_json_depth"
            " max_header_bytes max_headers max_connections"
        )
        for name in at_least_one.split():
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')}: expected at least 1, got {getattr(self, name)}")
        for name in ("timeout", "receive_timeout", "keep_alive", "stop_timeout"):
            if not getattr(self, name) > 0:
                raise InputError(f"--{name.replace('_', '-')}: expected seconds above 0, got {getattr(self, name)}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError("--tls-cert and --tls-key: expected both or neither")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every setting."""
    parser.add_argument(
        "--model",
        action="append",
        default=None,
        metavar="[NAME=]PATH",
        help="a model file, may be repeated; the name is the file's unless given (default: predict's, named mnist)",
    )
    for item in _flags():
        flag = f"--{item.name.replace('_', '-')}"
        text = item.metadata["help"]
        if item.type == "bool":
            parser.add_argument(flag, action="store_true", help=text)
        else:
            kind = {"int": int, "float": float}.get(str(item.type).removesuffix(" | None"), str)
            parser.add_argument(flag, type=kind, default=item.default, help=text)


def from_flags(options: argparse.Namespace) -> Settings:
    """Settings from a parsed command line."""
    values = {item.name: getattr(options, item.name) for item in _flags()}
    return Settings(models=tuple(_model(entry) for entry in options.model or ()), **values)


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
        f"| `--{item.name.replace('_', '-')}` | {item.default if item.default is not None else ''} "
        f"| {item.metadata['help']} |"
        for item in _flags()
    ]
    return "\n".join(["| flag | default | meaning |", "|---|---|---|", *rows])


def _flags() -> list[dataclasses.Field[Any]]:
    return [item for item in dataclasses.fields(Settings) if "help" in item.metadata]


def _model(entry: str) -> tuple[str, str]:
    name, given, path = entry.partition("=")
    if not given or os.sep in name:
        name, path = Path(entry).stem, entry
    if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise InputError(f"--model: expected a name of letters, digits, dots, dashes, got {name!r}; use NAME=PATH")
    return name, path
