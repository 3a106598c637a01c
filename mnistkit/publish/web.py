"""A folder with a page that runs a model in the browser: no server behind it, and nothing leaves the reader's machine.

Everything that the page loads is a classic script whose name holds its digest, because that works from every host, with
any cache, and from a disk (``file://``, where modules and ``fetch`` are refused).
"""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mnistkit.core.folders import check_folder, replacing_folder
from mnistkit.digits import page as shared
from mnistkit.publish.onnxruntime_web import check_web_runtime, load_web_runtime
from mnistkit.publish.web_model import WebModel, read_web_model
from mnistkit.publish.web_parts import as_parts, hashed

if TYPE_CHECKING:
    import os

    from mnistkit.publish.onnxruntime_web import WebRuntime

KIND: Final = "web page"
POLICY: Final = (
    "default-src 'none'; script-src 'self' file: blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' file:; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Of the page: nothing from elsewhere. ``file:`` is for a page opened from a disk; ``blob:`` for the worker."""
_FOLDER = Path(__file__).parent / "page"
_SCRIPTS: Final = {
    "digits": (*shared.SCRIPTS, "pixels.js", "model.js", "digits.js"),
    "numbers": ("input.js", "pixels.js", "tensors.js", "model.js", "fields.js", "results.js", "numbers.js"),
}
_STYLES: Final = {"digits": ("page.css",), "numbers": ("page.css", "numbers.css")}


@dataclass(frozen=True, slots=True)
class WebFolder:
    """What `web_folder` wrote.

    Attributes:
        path: The folder.
        page: ``"digits"``, a page to draw on, or ``"numbers"``, a page for any inputs.
        bytes: Size of all files.
        onnxruntime_web: Version of the runtime inside.
        hint: What would make a better page of the same model; empty where nothing would.
    """

    path: Path
    page: str
    bytes: int
    onnxruntime_web: str
    hint: str = ""

    def __str__(self) -> str:
        what = "draw on" if self.page == "digits" else "give numbers to"
        return f"wrote {self.path} ({self.bytes / 1e6:.1f} MB), a page to {what}; open {self.path / 'index.html'}"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"path": str(self.path)}


def web_folder(
    model: str | os.PathLike[str], folder: str | os.PathLike[str], *, ort: str | os.PathLike[str] | None = None
) -> WebFolder:
    """Make a folder with a page that runs a model in the browser.

    A file of ``mnistkit export --picture`` becomes a page to draw on. Any other becomes a page that takes numbers, and
    pictures where an input has the shape of one. The folder works on any static web host and from a disk.

    Args:
        model: An ``.onnx`` file, of mnistkit or not.
        folder: Where the page goes: a new or empty folder, or one that this function wrote.
        ort: onnxruntime-web, as a folder or archive; see `mnistkit.publish.onnxruntime_web.load_web_runtime`. By
            default npm downloads it.

    Raises:
        ModelFileError: The model cannot be read, or a page cannot run it; or ``ort`` is not the package.
        MissingExtraError: onnxruntime or npm is not installed, or npm cannot download.
        OutputError: The folder cannot be written, or holds other things.
    """
    target = Path(folder)
    check_folder(target, kind=KIND)
    read = read_web_model(model)
    runtime = load_web_runtime(ort)
    with replacing_folder(target, kind=KIND) as temporary:
        _write(temporary, read, runtime)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return WebFolder(target, read.page, size, runtime.version, read.hint)


def check_web_folder(folder: str | os.PathLike[str], *, ort: str | os.PathLike[str] | None = None) -> None:
    """Raise before a long export what `web_folder` would raise after it.

    Raises:
        MissingExtraError: npm is needed and not installed.
        ModelFileError: ``ort`` is not the package.
        OutputError: The folder cannot be written, or holds other things.
    """
    check_folder(folder, kind=KIND)
    check_web_runtime(ort)


def _write(folder: Path, model: WebModel, runtime: WebRuntime) -> None:
    worker = _read("worker.js")
    parts = {
        **as_parts("runtime", runtime.wasm, {"script": runtime.script, "worker": worker}),
        **as_parts("model", model.content, {}),
    }
    styles = hashed("page.css", "".join(map(_read, _STYLES[model.page])))
    script = hashed("page.js", "\n".join(map(_read, _SCRIPTS[model.page])))
    about = model.about | {"parts": {name: len(text) for name, text in parts.items()}}
    files = {styles[0]: styles[1], script[0]: script[1], **parts}
    files["index.html"] = _index(model, about, style=styles[0], script=script[0])
    files["sw.js"] = _service_worker(files)
    for name, text in {**files, **runtime.licenses}.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


def _index(model: WebModel, about: dict[str, Any], *, style: str, script: str) -> str:
    described = json.dumps(about, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<link rel="stylesheet" href="{style}">'
    )
    scripts = f'<script type="application/json" id="about">{described}</script>\n<script src="{script}" defer></script>'
    footer = "The model runs in this browser; nothing is sent anywhere."
    if model.page == "digits":
        words = {} if model.is_digits else {"title": "Draw, or give a picture", "hint": "Draw here"}
        return shared.drawing_page(head=head, footer=footer, scripts=scripts, **words)
    page = _read("numbers.html")
    places = {"head": head, "footer": footer, "scripts": scripts, "name": html.escape(model.name)}
    for place, part in places.items():
        page = page.replace(f"<!-- {place} -->", part)
    return page


def _service_worker(files: dict[str, str]) -> str:
    """The script that keeps the page for a second visit without a network."""
    names = ["./", *sorted(set(files) - {"index.html"})]
    version = hashed("", "".join(files.values()))[0].strip("-.")
    script = _read("sw.js")
    return script.replace('"@FILES@"', json.dumps(names)).replace("@VERSION@", version)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8") if (_FOLDER / name).is_file() else shared.read(name)
