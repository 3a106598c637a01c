"""What the writer covers, judged against Keras, with Keras' own exporter beside it.

    python benchmarks/coverage.py                       # all three backends, one process each
    python benchmarks/coverage.py --backends torch --parts layers
    python benchmarks/coverage.py --render              # docs/coverage.md from the JSON

The list of classes comes from ``keras.layers`` itself: a new class shows up as missing. Each case is built with weights
drawn anew, written, and compared with Keras at three batch sizes and several lengths of each free dimension; one weight
tensor x 1.03 must be noticed. ``--parts hub`` needs keras-hub.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "coverage.json"
TABLE = ROOT / "docs" / "coverage.md"
BACKENDS = ("tensorflow", "jax", "torch")
PARTS = ("layers", "activations", "users", "hub", "applications")
TITLES = {
    "layers": "keras.layers",
    "activations": "keras.activations",
    "users": "Models as users write them",
    "applications": "keras.applications",
    "hub": "KerasHub backbones",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument(
        "--stock", choices=("none", "first", "all"), default="first", help="cases for Keras' own exporter"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no new case after this, per backend")
    parser.add_argument("--resume", action="store_true", help="skip what the JSON already has")
    parser.add_argument("--render", action="store_true", help="only write the table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    if not options.render:
        for backend in options.backends:
            spawn(backend, options)
    TABLE.write_text(render(json.loads(RESULTS.read_text())))
    print(TABLE.relative_to(ROOT))
    return 0


def spawn(backend: str, options: argparse.Namespace) -> None:
    """Run one backend in its own process and merge what it found into the results."""
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "lines"
        command = [sys.executable, __file__, "--child", str(lines), "--parts", *options.parts, "--stock", options.stock]
        command += ["--seconds", str(options.seconds), *(["--resume"] if options.resume else [])]
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(command, env=environment, check=False)
        rows = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    merge(backend, rows)


def merge(backend: str, rows: list[dict[str, Any]]) -> None:
    """Put a backend's rows in place of its older ones for the same cases."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"versions": {}, "cases": []}
    for row in rows:
        if row["part"] == "versions":
            results["versions"][backend] = row["versions"]
    rows = [row for row in rows if row["part"] != "versions"]
    fresh = {(row["part"], row["subject"], row["label"]) for row in rows}
    kept = [
        row
        for row in results["cases"]
        if row["backend"] != backend or (row["part"], row["subject"], row["label"]) not in fresh
    ]
    order = {part: index for index, part in enumerate(PARTS)}
    results["cases"] = sorted(
        kept + rows, key=lambda r: (order[r["part"]], r["subject"], r["label"], BACKENDS.index(r["backend"]))
    )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


# -- one backend ------------------------------------------------------------------------------------------------------


def child(options: argparse.Namespace) -> int:
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "keras")]
    import cases_layers
    import cases_models
    import keras
    import onnxruntime

    backend = keras.backend.backend()
    started = time.perf_counter()
    known = already(backend) if options.resume else set()
    lists = {
        "layers": lambda: cases_layers.CASES,
        "activations": lambda: cases_models.ACTIVATIONS,
        "users": lambda: cases_models.USERS,
        "applications": lambda: cases_models.APPLICATIONS,
        "hub": cases_models.hub,
    }
    with Path(options.child).open("a") as lines:

        def put(row: dict[str, Any]) -> None:
            lines.write(json.dumps(row) + "\n")
            lines.flush()

        versions = {"keras": keras.__version__, "onnxruntime": onnxruntime.__version__}
        put({"part": "versions", "versions": versions})
        for part in options.parts:
            try:
                cases = lists[part]()
            except ImportError as error:
                print(f"{part} left out: {error}", file=sys.stderr)
                continue
            seen: set[str] = set()
            for case in cases:
                if time.perf_counter() - started > options.seconds:
                    print(f"{backend}: time is up in {part}", file=sys.stderr)
                    return 0
                first = case.subject not in seen
                seen.add(case.subject)
                if (part, case.subject, case.label) in known:
                    continue
                put(judge(case, part, backend, stock=options.stock == "all" or (options.stock == "first" and first)))
            if part == "layers":
                for name in cases_layers.missing():
                    put(row_of(part, name, "no case", backend) | {"writer": "missing: a new class"})
    return 0


def already(backend: str) -> set[tuple[str, str, str]]:
    """Return the cases of a backend that the JSON has."""
    rows = json.loads(RESULTS.read_text())["cases"] if RESULTS.exists() else []
    return {(row["part"], row["subject"], row["label"]) for row in rows if row["backend"] == backend}


def row_of(part: str, subject: str, label: str, backend: str) -> dict[str, Any]:
    return {"part": part, "subject": subject, "label": label, "backend": backend}


def judge(case: Any, part: str, backend: str, *, stock: bool) -> dict[str, Any]:
    """Return one row: the writer's verdict, and the stock exporter's when asked for."""
    import keras
    from comparing import check_case

    row = row_of(part, case.subject, case.label, backend)
    if case.only and backend not in case.only:
        return row | {"writer": f"not in Keras on {backend}"}
    started = time.perf_counter()
    model = None
    try:
        model = check_case(case)
        row["writer"] = f"refused: {case.refused}" if case.refused else "ok"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        row["writer"] = reason(error)
    row["seconds"] = round(time.perf_counter() - started, 2)
    if stock:
        row["stock"] = stock_verdict(case, model)
    keras.backend.clear_session()
    return row


def stock_verdict(case: Any, model: Any) -> str:
    """Export by Keras itself, after a call, and compare at the same sizes."""
    import onnx
    from comparing import agree, redraw

    try:
        if model is None:
            model = case.build()
            if case.redraw:
                redraw(model)
        with tempfile.TemporaryDirectory() as folder, quiet():
            path = str(Path(folder) / "stock.onnx")
            from comparing import call, drawer, signature_of

            structure, keywords, arrays = signature_of(model, drawer(case), length=case.lengths[-1], high=case.high)
            call(model, arrays, keywords)
            model.export(path, format="onnx", verbose=False)
            proto = onnx.load(path)
            del structure
        agree(model, lengths=case.lengths, high=case.high, mutant=False, check=False, draw=drawer(case), foreign=proto)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return reason(error)
    return "ok"


class quiet:  # noqa: N801  reads as a phrase
    """Send what converters print to nowhere."""

    def __enter__(self) -> None:
        self.kept = [os.dup(1), os.dup(2)]
        self.null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(self.null, 1)
        os.dup2(self.null, 2)

    def __exit__(self, *_: object) -> None:
        for number, kept in zip((1, 2), self.kept, strict=True):
            os.dup2(kept, number)
            os.close(kept)
        os.close(self.null)


def reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}"


# -- the table --------------------------------------------------------------------------------------------------------


def passed(verdict: str | None) -> bool:
    return verdict == "ok"


def accepted(verdict: str) -> bool:
    return passed(verdict) or verdict.startswith("refused")


def out_of_scope(verdict: str) -> bool:
    return verdict.startswith("not in Keras")


def render(results: dict[str, Any]) -> str:
    """Return the page; every number in it is counted here from the JSON."""
    sys.path[:0] = [str(ROOT / "tests" / "keras")]
    groups: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in results["cases"]:
        groups[row["part"]][row["subject"]][row["backend"]].append(row)
    versions = next(iter(results["versions"].values()), {})
    lines = [
        "# What the writer covers",
        "",
        "Written by `python benchmarks/coverage.py` from `benchmarks/results/coverage.json`; do not edit.",
        f"Keras {versions.get('keras', '?')}, onnxruntime {versions.get('onnxruntime', '?')}.",
        "A subject counts as covered when every configuration of it answers as Keras does (1e-4, three batch sizes,",
        "two or more lengths of each free dimension) or, where this backend's Keras differs, is refused with the",
        "reason. A subject with a configuration that has not been run yet on a backend is counted as not run there,",
        "never as covered.",
        'Stock is `model.export(format="onnx")` after a call, on the first configuration of each subject.',
        "",
        "| | " + " | ".join(f"{b} | stock" for b in BACKENDS) + " |",
        "|---|" + "---|---|" * len(BACKENDS),
    ]
    for part in PARTS:
        if part in groups:
            cells = [cell for backend in BACKENDS for cell in totals(groups[part], backend)]
            lines.append(f"| {TITLES[part]} | " + " | ".join(cells) + " |")
    for part in PARTS:
        if part in groups:
            lines += ["", f"## {TITLES[part]}", "", *table(groups[part])]
    return "\n".join(lines) + "\n"


def totals(subjects: dict[str, Any], backend: str) -> tuple[str, str]:
    """Return the shares of covered subjects, of those that this backend's Keras has: the writer's and the stock's."""
    good = run = missing = stock = asked = 0
    for by_backend in subjects.values():
        labels = {row["label"] for rows in by_backend.values() for row in rows}
        rows = by_backend.get(backend, [])
        if {row["label"] for row in rows} != labels:
            missing += 1
            continue
        rows = [row for row in rows if not out_of_scope(row["writer"])]
        if not rows:
            continue
        run += 1
        good += any(passed(row["writer"]) for row in rows) and all(accepted(row["writer"]) for row in rows)
        asked += any("stock" in row for row in rows)
        stock += any(passed(row.get("stock")) for row in rows)

    def share(part: int, whole: int) -> str:
        return f"{part}/{whole} ({100 * part / whole:.1f} %)" if whole else "not run"

    return share(good, run) + (f", {missing} not run" if missing and run else ""), share(stock, asked)


def table(subjects: dict[str, Any]) -> list[str]:
    heads = " | ".join(f"{b} | stock" for b in BACKENDS)
    lines = [f"| | configurations | {heads} |", "|---|---|" + "---|---|" * len(BACKENDS)]
    notes: list[str] = []
    for subject, by_backend in subjects.items():
        labels = {row["label"] for rows in by_backend.values() for row in rows}
        cells = []
        for backend in BACKENDS:
            rows = by_backend.get(backend, [])
            cells.append(summary(rows))
            stock = [row["stock"] for row in rows if "stock" in row]
            cells.append("" if not stock else "yes" if all(map(passed, stock)) else "no")
            notes += [
                f"- {subject} ({row['label']}), {backend}: {row['writer']}"
                for row in rows
                if not passed(row["writer"]) and not out_of_scope(row["writer"])
            ]
        lines.append(f"| {subject} | {len(labels)} | " + " | ".join(cells) + " |")
    if notes:
        lines += ["", "Not covered, and why:", "", *(note.replace("|", "\\|") for note in notes)]
    stock_notes = [
        f"- {row['subject']}, {row['backend']}: {row['stock']}"
        for by_backend in subjects.values()
        for rows in by_backend.values()
        for row in rows
        if "stock" in row and not passed(row["stock"])
    ]
    if stock_notes:
        lines += ["", "Where the stock exporter fails:", "", *(note.replace("|", "\\|") for note in stock_notes)]
    return lines


def summary(rows: list[dict[str, Any]]) -> str:
    rows = [row for row in rows if not out_of_scope(row["writer"])]
    if not rows:
        return ""
    good = sum(accepted(row["writer"]) for row in rows)
    if all(row["writer"].startswith("refused") for row in rows):
        return "refused"
    return "yes" if good == len(rows) else f"{good} of {len(rows)}"


if __name__ == "__main__":
    sys.exit(main())
