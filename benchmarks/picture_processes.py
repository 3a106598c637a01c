"""Whole processes that read pictures: how long they take, and what hostile files do to them."""

from __future__ import annotations

import atexit
import functools
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from made_pictures import make
from PIL import Image

from mnistkit.digits.data import load_data

ROUNDS = 7
BARE = "import numpy, onnxruntime, PIL.Image"
IDLE = "from mnistkit import Classifier; Classifier()"
# The last line says the program's own peak memory; the kernel's rusage would count the parent's too.
PEAK = """
import re
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""
PREDICT = "import sys; from mnistkit.cli import main; code = main(sys.argv[1:])" + PEAK + "sys.exit(code)"


def speed(folder: Path, model: Path) -> dict[str, dict[str, float]]:
    """Median wall and CPU seconds of whole processes, interleaved."""
    image = load_data().x_test[0]
    Image.fromarray(image).save(folder / "small.png")
    generator = np.random.default_rng(1)
    (folder / "photo.jpg").write_bytes(make("huge, about 12 megapixels", image, generator))
    predict = ["-m", "mnistkit.predict", "--model", str(model)]
    commands = {
        "bare imports": ["-c", BARE],
        "28x28 PNG": [*predict, str(folder / "small.png")],
        "12-megapixel JPEG": [*predict, str(folder / "photo.jpg")],
        "12-megapixel JPEG, --number": [*predict, "--number", str(folder / "photo.jpg")],
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS + 1):
        for name, arguments in commands.items():
            started = time.perf_counter()
            _, usage, _ = run(arguments)
            taken[name].append((time.perf_counter() - started, usage.ru_utime + usage.ru_stime))
    return {
        name: {
            "wall": round(statistics.median(wall for wall, _ in runs[1:]), 4),
            "cpu": round(statistics.median(cpu for _, cpu in runs[1:]), 4),
        }
        for name, runs in taken.items()
    }


def hostile(folder: Path, model: Path) -> dict[str, Any]:
    """Exit code, printed lines and peak memory for files that are no pictures of digits."""
    base = int(run(["-c", IDLE + PEAK])[2].split()[-1]) // 1024
    found: dict[str, Any] = {}
    for name, path in hostile_files(folder).items():
        found[name] = {}
        for way in ([], ["--number"], ["--show"]):
            code, _, printed = run(["-c", PREDICT, "predict", "--model", str(model), *way, str(path)])
            *output, peak = printed.splitlines()
            found[name][" ".join(["predict", *way])] = {
                "code": code,
                "above idle": max(int(peak) // 1024 - base, 0),
                "lines": len(output),
                "said": " ".join(output).replace(str(folder) + os.sep, "")[:200],
            }
    return {"idle": base, "files": found}


def hostile_files(folder: Path) -> dict[str, Path]:
    """Files by what they are."""
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.jpg")
    Image.fromarray(noise).save(folder / "noise.png")
    contents = {
        "decompression bomb, 100 MB": png(10_000, 10_000, 0),
        "decompression bomb, 64 million RGBA pixels": png(8_000, 8_000, 6),
        "header of 100000x100000": png(100_000, 100_000, 0, rows=1),
        "truncated JPEG": (folder / "noise.jpg").read_bytes()[:9000],
        "truncated PNG": (folder / "noise.png").read_bytes()[:9000],
        "text named .png": b"These are not the pixels you are looking for.\n",
        "0x0": png(0, 0, 0),
        "empty file": b"",
        "1x1": png(1, 1, 0),
        "1x10000": png(1, 10_000, 0),
        "10000x1": png(10_000, 1, 0),
        "one colour": png(400, 300, 2),
    }
    paths = {}
    for number, (name, content) in enumerate(contents.items()):
        paths[name] = folder / f"hostile{number}.png"
        paths[name].write_bytes(content)
    return paths


def png(width: int, height: int, kind: int, *, rows: int | None = None) -> bytes:
    """A PNG of zeros; ``kind`` is its colour type (PNG specification, 11.2.2)."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    row = bytes(1 + width * {0: 1, 2: 3, 6: 4}[kind])
    packer = zlib.compressobj(9)
    data = b"".join([*(packer.compress(row) for _ in range(height if rows is None else rows)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def run(arguments: list[str]) -> tuple[int, Any, str]:
    """Run Python and wait: exit code, resource usage, and all that was printed."""
    root = str(Path(__file__).parents[1])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**environment, "PYTHONPATH": root, "PYTHONPYCACHEPREFIX": _compiled()},
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    return process.returncode, usage, output


@functools.cache
def _compiled() -> str:
    """A folder for byte code: an installed package has its own, a checkout may not."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return folder.name
