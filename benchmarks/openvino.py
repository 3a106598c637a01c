"""OpenVINO beside onnxruntime's own CPU provider, by ``mnistkit bench`` on the same files.

    python benchmarks/openvino.py [--write]

Needs onnxruntime-openvino, which has both providers (``pip install ".[openvino]"``). The ways take turns, and the least
median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402  # after this checkout is put on the path

from mnistkit import Runtime, load_data  # noqa: E402
from mnistkit.publish.bench import bench  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "openvino.json"
FILES = {"tutorial's mlp": "exports/mnist-jax.onnx", "cnn": "exports/mnist-cnn.onnx"}
SIZES = (1, 32, 1024)
DEVICES = ("cpu", "openvino")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results")
    options = parser.parse_args()
    rows = []
    version = ""
    x = load_data().x_test[:1000].reshape(-1, 784).astype(np.float32) / 255
    for name, file in FILES.items():
        least: dict[str, dict[str, float]] = {device: {} for device in DEVICES}
        for _ in range(options.rounds):
            for device in DEVICES:
                found = bench(ROOT / file, device=device, batch_sizes=SIZES, keras=False)
                version = found.onnxruntime
                for key, taken in {"load": found.load, **{str(n.batch_size): n.p50 for n in found.latencies}}.items():
                    least[device][key] = min(taken, least[device].get(key, 1e9))
        answers = [Runtime(ROOT / file, device=device).run(x) for device in DEVICES]
        apart = float(np.abs(answers[0] - answers[1]).max())
        for device in DEVICES:
            row = {"model": name, "device": device, **{key: round(value, 4) for key, value in least[device].items()}}
            rows.append(row | ({} if device == "cpu" else {"apart": apart}))
            print(json.dumps(rows[-1]), flush=True)
    if options.write:
        kept = {"onnxruntime-openvino": version, "processors": len(os.sched_getaffinity(0)), "rows": rows}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
