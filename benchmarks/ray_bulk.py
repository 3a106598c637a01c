"""Bulk prediction with Ray Data, a worker killed half-way, beside one process: the same file?

    python benchmarks/ray_bulk.py [--images 100000] [--pictures 0] [--workers 2] [--write]

Makes images (digits of MNIST, shifted and dimmed) in a Parquet file, and ``--pictures`` PNG files in a folder. One
process reads each into a table; then ``mnistkit predict --ray`` does, and one of its workers is killed when half is
read. Both tables must be the same bytes. Needs the extra ``ray`` and Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mnistkit import load_data  # noqa: E402  # this checkout, whatever is installed

RESULTS = ROOT / "benchmarks" / "results" / "ray_bulk.json"


def make_images(count: int, folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    random = np.random.default_rng(0)
    digits = load_data().x_test
    path = folder / "images.parquet"
    kind = pa.list_(pa.uint8(), 784)
    with pa.parquet.ParquetWriter(path, pa.schema([("image", kind)])) as table:
        for first in range(0, count, 10_000):
            some = digits[random.integers(len(digits), size=min(10_000, count - first))]
            shifts = random.integers(-2, 3, size=2)
            levels = random.integers(150, 256, size=(len(some), 1, 1))
            some = (np.roll(some, shifts, (1, 2)) * levels // 255).astype(np.uint8)
            column = pa.FixedSizeListArray.from_arrays(pa.array(some.ravel()), 784)
            table.write_table(pa.table({"image": column}))
    return path


def make_pictures(count: int, folder: Path) -> Path:
    from PIL import Image

    random = np.random.default_rng(1)
    digits = load_data().x_test
    place = folder / "pictures"
    place.mkdir()
    for number in range(count):
        size = int(random.integers(40, 160))
        image = Image.fromarray(255 - digits[random.integers(len(digits))]).resize((size, size))
        image.save(place / f"{number:06}.png")
    return place


def below(pid: int) -> dict[int, str]:
    """The processes that a process began, and those that they began, with their command lines."""
    parents, lines = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            lines[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {one: lines.get(one, "") for one in found - {pid}}


def predict(source: Path, out: Path, *flags: str, kill_at: int | None = None) -> dict[str, Any]:
    """Run the command; kill a worker of its Ray when so many rows are read."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    words = [sys.executable, "-m", "mnistkit", "predict", str(source), "--out", str(out), *flags]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    part, killed = out.with_name(f"{out.name}.part"), None
    while process.poll() is None and kill_at is not None and killed is None:
        time.sleep(0.05)
        if part.exists() and part.read_bytes().count(b"\n[") >= kill_at:
            workers = [one for one, line in below(process.pid).items() if "MapWorker" in line]
            if workers:
                os.kill(workers[0], signal.SIGKILL)
                killed = workers[0]
    said = process.communicate()[0]
    if kill_at is not None and killed is None:
        raise SystemExit("no worker was killed: it was read too soon; ask for more images")
    if process.returncode not in {0, 1} or not out.exists():
        raise SystemExit(f"predict ended with {process.returncode}: {said}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(cpu, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    options = parser.parse_args()
    results: dict[str, Any] = {"workers": options.workers, "processors": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {"images": (make_images, ".parquet"), "pictures": (make_pictures, ".csv")}
        for kind, (make, ending) in made.items():
            count = getattr(options, kind)
            if not count:
                continue
            source = make(count, folder)
            alone, ray = folder / f"alone{ending}", folder / f"ray{ending}"
            one = predict(source, alone)
            flags = ("--ray", "--ray-address", "local", "--workers", str(options.workers))
            many = predict(source, ray, *flags, kill_at=count // 2)
            same = alone.read_bytes() == ray.read_bytes()
            results[kind] = {"count": count, "one_process": one, "ray_a_worker_killed": many, "same_bytes": same}
            print(f"{count:,} {kind}: one process {one['seconds']} s, Ray with a worker killed half-way "
                  f"{many['seconds']} s; {'the same file' if same else 'THE FILES DIFFER'}")  # fmt: skip
            if not same:
                return 1
    if options.write:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
