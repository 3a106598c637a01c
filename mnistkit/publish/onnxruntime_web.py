"""The npm package onnxruntime-web: the small build that runs a model in a browser on the CPU, in one thread."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnistkit.core.errors import MissingExtraError, ModelFileError, one_line
from mnistkit.core.runtime import load_onnxruntime

if TYPE_CHECKING:
    import os

VERSION = "1.30.0"
"""The version that is downloaded."""
_DIGEST = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of its archive, as the npm registry publishes it under ``dist.integrity``."""
_SCRIPT = "dist/ort.wasm.bundle.min.mjs"
_WASM = "dist/ort-wasm-simd-threaded.wasm"
_NAME = "onnxruntime-web"
_LICENSE = Path(__file__).parent / "page" / "onnxruntime-web.LICENSE.txt"
_NOTICES = "ThirdPartyNotices.txt"


@dataclass(frozen=True, slots=True)
class WebRuntime:
    """What of onnxruntime-web a page needs.

    Attributes:
        version: Its version.
        script: Its JavaScript, one module.
        wasm: The WebAssembly that the script loads.
        licenses: Texts of its license and of those of the libraries inside it, by file name.
    """

    version: str
    script: str
    wasm: bytes
    licenses: dict[str, str]


def load_web_runtime(place: str | os.PathLike[str] | None = None) -> WebRuntime:
    """Read onnxruntime-web from a folder or archive, or download it with npm.

    Args:
        place: The unpacked package, a folder that npm installed it into, or the .tgz that ``npm pack`` wrote; by
            default npm downloads the pinned version. Nothing of it is executed.

    Raises:
        MissingExtraError: npm is needed and not installed, or cannot download the package.
        ModelFileError: The folder or the archive does not hold the package.
    """
    if place is None:
        return _download()
    path = Path(place)
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_archive(path)
    raise ModelFileError(f"--ort {path}: no such folder; {_cure()}")


def check_web_runtime(place: str | os.PathLike[str] | None = None) -> None:
    """Raise what `load_web_runtime` would raise, as far as that is known without a download."""
    if place is not None:
        load_web_runtime(place)
    else:
        _npm()


def _npm() -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtraError(
            f"npm is not installed, and downloads {_NAME}; install Node.js, or give --ort DIR with the package, "
            f"which `npm pack {_NAME}@{VERSION}` writes on another machine"
        )
    return npm


def _download() -> WebRuntime:
    with tempfile.TemporaryDirectory(prefix="mnistkit-") as folder:
        command = [_npm(), "pack", f"{_NAME}@{VERSION}", "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"]
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
        archives = list(Path(folder).glob("*.tgz"))
        if ended.returncode or len(archives) != 1:
            reason = one_line(ValueError(_reason(ended.stderr) or "it wrote nothing"), limit=200)
            raise MissingExtraError(
                f"npm could not download {_NAME} {VERSION} ({reason}); try again, or give --ort DIR with the unpacked "
                "package"
            )
        digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        if digest != _DIGEST:
            raise MissingExtraError(
                f"npm gave another {_NAME} {VERSION} than the published one (its SHA-512 differs); look at npm's "
                "registry setting, or give --ort DIR with the unpacked package"
            )
        return _from_archive(archives[0])


def _reason(text: str) -> str:
    """What npm says, without the word before each line and the place of its log."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line) for line in text.splitlines()]
    return " ".join(line for line in lines if "complete log of this run" not in line)


def _from_archive(path: Path) -> WebRuntime:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = member.name.partition("/")[2]  # after "package/"
                stream = archive.extractfile(member) if name in {"package.json", _SCRIPT, _WASM} else None
                if stream is not None:
                    found[name] = stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ModelFileError(f"--ort {path}: no archive of npm ({one_line(error, limit=120)}); {_cure()}") from error
    return _checked(path, found)


def _from_folder(path: Path) -> WebRuntime:
    """The package itself, or a folder with it where npm and ``npm pack`` put it."""
    places = [path, path / "package", path / "node_modules" / _NAME, path / _NAME]
    folder = next((place for place in places if (place / "package.json").is_file() and _is_it(place)), None)
    if folder is None:
        raise ModelFileError(f"--ort {path}: does not hold the npm package {_NAME}; {_cure()}")
    found = {
        name: (folder / name).read_bytes()
        for name in ("package.json", _SCRIPT, _WASM)
        if (folder / name).is_file()
    }  # fmt: skip
    return _checked(path, found)


def _is_it(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "package.json").read_bytes())["name"] == _NAME)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _checked(path: Path, found: dict[str, bytes]) -> WebRuntime:
    lacking = [name for name in ("package.json", _SCRIPT, _WASM) if name not in found]
    if lacking:
        raise ModelFileError(f"--ort {path}: has no {lacking[0]}, as {_NAME} {VERSION} has; {_cure()}")
    try:
        version = str(json.loads(found["package.json"])["version"])
        script = found[_SCRIPT].decode()
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"--ort {path}: is damaged ({one_line(error, limit=120)}); {_cure()}") from error
    if not found[_WASM].startswith(b"\0asm"):
        raise ModelFileError(f"--ort {path}: {_WASM} is no WebAssembly; {_cure()}")
    return WebRuntime(version, script, found[_WASM], _licenses())


def _licenses() -> dict[str, str]:
    """Of onnxruntime and the libraries inside, from its Python package: the npm package has none."""
    texts = {f"{_NAME}.LICENSE.txt": _LICENSE.read_text(encoding="utf-8")}
    notices = Path(str(load_onnxruntime().__file__)).parent / _NOTICES
    if notices.is_file():
        texts[f"{_NAME}.{_NOTICES}"] = notices.read_text(encoding="utf-8", errors="replace")
    return texts


def _cure() -> str:
    return f"`npm pack {_NAME}@{VERSION}` writes the archive"
