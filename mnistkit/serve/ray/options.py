"""The arguments of an application, and which of the server's settings Ray leaves to it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mnistkit.core.errors import InputError, did_you_mean
from mnistkit.serve.scale import add_scale_flags, scale_from
from mnistkit.serve.settings import Settings, add_flags, from_flags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mnistkit.serve.scale import Scale

_RAYS = frozenset({"uds", "grpc_port", "admin_port", "http2", "workers", "tls_cert", "tls_key", "tls_client_ca"})
_FILES = "access_log", "token_file"


def read(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> tuple[Settings, Scale]:
    """Settings from an application's arguments, as ``serve run`` and the ``args`` of a configuration file give them.

    Args:
        arguments: Names of flags, with underscores or dashes, and their values; of ``model`` perhaps several.
        environment: ``MNISTKIT_SERVE_*`` variables; arguments win over them.

    Raises:
        InputError: There is no such argument, or its value is wrong.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_flags(parser)
    add_scale_flags(parser)
    known = {word.removeprefix("--") for action in parser._actions for word in action.option_strings}  # noqa: SLF001 - argparse has no other way to ask
    words = []
    for name, value in arguments.items():
        flag = str(name).replace("_", "-")
        if flag not in known:
            raise InputError(f"{name}: expected the name of a flag of mnistkit serve{did_you_mean(flag, known)}")
        words += _words(f"--{flag}", value, switch=flag in {"http2", "watch", "proxy-headers"})
    options = parser.parse_args(words)
    settings = from_flags(options, environment)
    if settings.port != Settings.__dataclass_fields__["port"].default:
        raise InputError(
            f"--port {settings.port}: with `serve run` it is Ray's: set it in http_options, or use mnistkit serve --ray"
        )
    if "access_log" not in arguments and settings.access_log == "-":
        settings = dataclasses.replace(settings, access_log="none")  # Ray has an access log of its own
    return settings, scale_from(options)


def for_replicas(settings: Settings, scale: Scale) -> Settings:
    """The settings as replicas can use them: paths from the root, and as many threads as processors.

    Raises:
        InputError: One of them is Ray's business.
    """
    for item in dataclasses.fields(settings):
        value, flag = getattr(settings, item.name), f"--{item.name.replace('_', '-')}"
        if item.name in _RAYS and value != item.default:
            raise InputError(f"{flag}: not with Ray, whose proxies and replicas do that in their own way")
    if settings.model_repository is not None:
        raise InputError(
            "--model-repository: not with Ray: a request to load a model would reach one replica alone; give each model"
            " by --model, and deploy again to change them"
        )
    changes: dict[str, Any] = {"models": tuple((name, str(Path(path).absolute())) for name, path in settings.models)}
    for name in _FILES:
        path = getattr(settings, name)
        if path is not None and path not in {"-", "none"}:
            changes[name] = str(Path(path).absolute())
    if settings.threads is None:
        changes["threads"] = max(1, int(scale.cpus))
    return dataclasses.replace(settings, **changes)


def _words(flag: str, value: Any, *, switch: bool) -> list[str]:
    """An argument as words of a command line."""
    if switch:
        text = str(value).lower()
        if text not in {"0", "1", "true", "false"}:
            raise InputError(f"{flag}: expected true or false, got {value!r}")
        return [flag] if text in {"1", "true"} else []
    values = value if isinstance(value, list | tuple) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise InputError(f"{flag}: expected text or a number, got {one!r}")
    return [f"{flag}={one}" for one in values]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(message.removeprefix("argument "))
