"""Everything that needs an NVIDIA GPU, in one run of a few minutes: training, export, parity, latencies.

    python benchmarks/gpu.py [--data mnist.npz] [--sections check torch …] [--device cpu] [--write]

Each section runs in a process of its own, so that one that fails loses nothing of the others; what is measured is kept
after each. A backend that is not installed is written down as "not run". ``--device cpu`` runs the same code on little
data without a GPU, to see that it works. --write keeps the figures in benchmarks/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
MARK = "row: "  # before each finding on a child's stdout
SECTIONS = {
    # name: (function of gpu_sections, Keras backend, seconds)
    "machine": ("machine", "", 60),
    "check": ("check_graphs", "torch", 90),
    "train torch": ("train", "torch", 90),
    "train jax": ("train", "jax", 90),
    "train tensorflow": ("train", "tensorflow", 90),
    "export torch": ("export_and_parity", "torch", 90),
    "export jax": ("export_and_parity", "jax", 90),
    "export tensorflow": ("export_and_parity", "tensorflow", 90),
    "bench": ("bench_files", "", 120),
    "binding": ("binding", "", 60),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an mnist.npz (default: the one in the package)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sections", nargs="+", metavar="NAME", help=f"words of: {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--out", type=Path, help="write the figures there")
    parser.add_argument("--write", action="store_true", help="write them to benchmarks/results/gpu.json")
    parser.add_argument("--child", nargs=2, metavar=("FUNCTION", "OPTIONS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    wanted = [name for name in SECTIONS if not options.sections or set(name.split()) & set(options.sections)]
    if not wanted:
        parser.error(f"--sections: none of them is a word of {', '.join(SECTIONS)}")
    targets = [path for path in (options.out, RESULTS if options.write else None) if path]
    found: dict = {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        for name in wanted:
            if name == "bench" and not any(Path(work).iterdir()):
                print("bench without an export: MobileNetV2 is left out", file=sys.stderr, flush=True)
            found[name] = run(name, {"device": options.device, "data": options.data, "work": work})
            print("\n".join(lines(name, found[name])), flush=True)
            for path in targets:
                path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"all in {time.perf_counter() - began:.0f} s")
    return int(any("failed" in section for section in found.values()))


def run(name: str, given: dict) -> dict:
    """Run a section in a process of its own."""
    function, backend, patience = SECTIONS[name]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    if backend:
        environment["KERAS_BACKEND"] = backend
    if given["device"] == "cpu":
        patience *= 4
        environment |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--child", function, json.dumps({**given, "backend": backend})]
    began = time.perf_counter()
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        out, err, code = done.stdout, done.stderr, f"exit {done.returncode}"
    except subprocess.TimeoutExpired as expired:
        out, err, code = (
            (part or b"").decode() if isinstance(part, bytes) else part or ""
            for part in (expired.stdout, expired.stderr, f"more than {patience} s")
        )
    # each finding is a line of its own, so that those before a failure are kept
    rows = [json.loads(line.removeprefix(MARK)) for line in out.splitlines() if line.startswith(MARK)]
    section: dict = {"seconds": round(time.perf_counter() - began, 1), "rows": rows}
    told = [line.strip()[:300] for line in err.splitlines() if "mnistkit" in line]
    if told and code == "exit 0":
        section["told"] = list(dict.fromkeys(told))[:5]
    if code != "exit 0":
        section["failed"] = f"{code}: {' | '.join(err.strip().splitlines()[-6:])[-900:]}"
    return section


def child(function: str, text: str) -> int:
    """Run a function of gpu_sections and print each finding as it comes."""
    import gpu_sections

    for row in getattr(gpu_sections, function)(**json.loads(text)):
        print(MARK + json.dumps(row), flush=True)
    return 0


def lines(name: str, section: dict) -> list[str]:
    """A section for people."""
    rows = ("  ".join(f"{key}={_short(value)}" for key, value in row.items()) for row in section["rows"])
    shown = [f"== {name} ({section['seconds']} s)", *(f"  {row}" for row in rows)]
    shown += [f"  told: {line}" for line in section.get("told", ())]
    if "failed" in section:
        shown.append(f"  FAILED: {section['failed']}")
    return shown


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
