"""What the native exporter covers, judged against Keras, with Keras' own exporter beside it.

    python benchmarks/coverage.py                       # all three backends, one process each
    python benchmarks/coverage.py --backends torch --parts layers
    python benchmarks/coverage.py --resume --stock all  # go on after an interruption: only what the JSON lacks

The list of classes comes from ``keras.layers`` itself: a new class shows up as missing. Each case is built with weights
drawn anew, written, and compared with Keras at three batch sizes and several lengths of each free dimension; one weight
tensor x 1.03 must be noticed. ``--parts hub`` needs keras-hub.

Each backend works in a child process with one thread, and every verdict goes into the JSON as soon as it is known. A
child that takes too long over a case, or dies of it, is replaced by a new one: the verdict says so and the run goes on.
Several of these commands, for other backends or parts, may run at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "coverage.json"
sys.path.append(str(ROOT / "tools"))

from doc_pages.coverage import BACKENDS, PARTS  # noqa: E402 - tools/ is on the path from here on

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
}
NATIVE_SECONDS = 900.0  # for one case, Keras' own answers included: a backend may compile for minutes
POLL = 0.5  # seconds between two looks at a child


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="cases whose subject has one of these")
    parser.add_argument(
        "--stock", choices=("none", "first", "all"), default="first", help="cases for Keras' own exporter"
    )
    parser.add_argument("--stock-seconds", type=float, default=120.0, help="time limit of each of those")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no new case after this, per backend")
    parser.add_argument("--resume", action="store_true", help="skip what the JSON already has")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--skip", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options)
    for backend in options.backends:
        Supervisor(backend, options).run()
    return 0


# -- the results ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def results(*, write: bool = True) -> Iterator[dict[str, Any]]:
    """Hold the JSON for a moment, no other process in between; what was changed is put in place whole."""
    RESULTS.parent.mkdir(exist_ok=True)
    lock = Path(tempfile.gettempdir()) / "mnistkit-coverage.lock"
    with lock.open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"versions": {}, "cases": []}
        yield known
        if not write:
            return
        order = {part: index for index, part in enumerate(PARTS)}
        known["cases"].sort(
            key=lambda r: (order[r["part"]], r["subject"], r["label"], BACKENDS.index(r["backend"])),
        )
        fresh = RESULTS.with_suffix(".part")
        fresh.write_text(one_case_a_line(known), encoding="utf-8")
        fresh.replace(RESULTS)


def one_case_a_line(known: dict[str, Any]) -> str:
    """The results as JSON in which the lines of a diff are cases."""
    cases = ",\n".join(json.dumps(row, ensure_ascii=False) for row in known["cases"])
    rest = json.dumps({name: value for name, value in known.items() if name != "cases"}, ensure_ascii=False)
    return f'{rest[:-1]}, "cases": [\n{cases}\n]}}\n'


def key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["part"], row["subject"], row["label"]


def merge(backend: str, lines: list[dict[str, Any]], *, only: bool) -> None:
    """Put what a child said into the results: a native verdict starts a case's row anew, a stock one joins it."""
    if not any(line["event"] in {"row", "versions", "cases"} for line in lines):
        return
    with results() as known:
        for line in lines:
            event = line.pop("event")
            if event == "versions":
                known["versions"][backend] = line["versions"]
            elif event == "cases" and not only:  # cases that are no more
                there = {(line["part"], *names) for names in line["names"]}
                known["cases"] = [
                    row
                    for row in known["cases"]
                    if row["backend"] != backend or row["part"] != line["part"] or key(row) in there
                ]
            elif event == "row":
                old = [row for row in known["cases"] if row["backend"] == backend and key(row) == key(line)]
                known["cases"] = [row for row in known["cases"] if not any(row is other for other in old)]
                known["cases"].append(line if "native" in line or not old else old[0] | line)


# -- the parent -------------------------------------------------------------------------------------------------------


@dataclass
class Supervisor:
    """Runs the cases of one backend, in as many children as it takes."""

    backend: str
    options: argparse.Namespace
    done: set[tuple[str, ...]] = field(default_factory=set)  # (part, subject, label, "native" or "stock")
    started: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Run until every case has its verdicts or the time is up."""
        if self.options.resume:
            with results(write=False) as known:
                rows = [row for row in known["cases"] if row["backend"] == self.backend]
            self.done = {(*key(row), stage) for row in rows for stage in ("native", "stock") if stage in row}
        with tempfile.TemporaryDirectory() as folder:
            turn = 0
            while not self._turn(Path(folder) / f"lines{turn}", Path(folder) / "skip"):
                turn += 1

    def _turn(self, lines: Path, skip: Path) -> bool:
        """Run one child to its end; return whether all is done."""
        skip.write_text(json.dumps(sorted(self.done)))
        left = self.options.seconds - (time.monotonic() - self.started)
        command = [sys.executable, __file__, "--child", str(lines), "--skip", str(skip), "--seconds", str(left)]
        command += ["--parts", *self.options.parts, "--stock", self.options.stock]
        command += ["--only", *self.options.only] if self.options.only else []
        lines.touch()
        process = subprocess.Popen(command, env={**os.environ, **ONE_THREAD, "KERAS_BACKEND": self.backend})
        current: dict[str, Any] | None = None
        since = time.monotonic()
        read = 0
        try:
            while True:
                ended = process.poll() is not None
                text = lines.read_text()[read:]
                text = text[: text.rfind("\n") + 1]
                read += len(text)
                for line in (said := [json.loads(each) for each in text.splitlines()]):
                    if line["event"] == "begin":
                        current, since = line, time.monotonic()
                    elif line["event"] == "row":
                        self.done |= {(*key(line), stage) for stage in ("native", "stock") if stage in line}
                        current = None
                merge(self.backend, said, only=bool(self.options.only))
                if ended:
                    break
                limit = self.options.stock_seconds if current and current["stage"] == "stock" else NATIVE_SECONDS
                if current and time.monotonic() - since > limit:
                    process.kill()
                    process.wait()
                    self._give_up(current, f"not done after {limit:.0f} s")
                    return False
                time.sleep(POLL)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if current is None:
            if process.returncode:
                print(f"{self.backend}: the child ended with {process.returncode}", file=sys.stderr)
            return True
        self._give_up(current, f"the process died (exit status {process.returncode})")
        return False

    def _give_up(self, case: dict[str, Any], verdict: str) -> None:
        print(f"{self.backend}: {case['subject']} ({case['label']}), {case['stage']}: {verdict}", file=sys.stderr)
        self.done.add((*key(case), case["stage"]))
        row = row_of(case["part"], case["subject"], case["label"], self.backend) | {case["stage"]: verdict}
        merge(self.backend, [{"event": "row", **row}], only=True)


# -- the child: one backend -------------------------------------------------------------------------------------------


def child(options: argparse.Namespace) -> int:
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "keras" / "export")]
    import cases_layers
    import cases_models
    import keras
    import onnxruntime

    backend = keras.backend.backend()
    started = time.perf_counter()
    done = {tuple(item) for item in json.loads(Path(options.skip).read_text())}
    lists = {
        "layers": lambda: cases_layers.CASES,
        "activations": lambda: cases_models.ACTIVATIONS,
        "users": lambda: cases_models.USERS,
        "applications": lambda: cases_models.APPLICATIONS,
        "hub": cases_models.hub,
    }
    with Path(options.child).open("a") as lines:

        def say(event: str, **what: Any) -> None:
            lines.write(json.dumps({"event": event, **what}) + "\n")
            lines.flush()

        say("versions", versions={"keras": keras.__version__, "onnxruntime": onnxruntime.__version__})
        for part in options.parts:
            try:
                cases = lists[part]()
            except ImportError as error:
                print(f"{part} left out: {error}", file=sys.stderr)
                continue
            absent = cases_layers.missing() if part == "layers" else []
            say("cases", part=part, names=[[c.subject, c.label] for c in cases] + [[n, "no case"] for n in absent])
            for name in absent:
                say("row", **row_of(part, name, "no case", backend), native="missing: a new class")
            seen: set[str] = set()
            for case in cases:
                if options.only and not any(word in case.subject for word in options.only):
                    continue
                if time.perf_counter() - started > options.seconds:
                    print(f"{backend}: time is up in {part}", file=sys.stderr)
                    return 0
                stock = options.stock == "all" or (options.stock == "first" and case.subject not in seen)
                seen.add(case.subject)
                judge(case, part, backend, stock=stock, done=done, say=say)
    return 0


def row_of(part: str, subject: str, label: str, backend: str) -> dict[str, Any]:
    return {"part": part, "subject": subject, "label": label, "backend": backend}


def judge(case: Any, part: str, backend: str, *, stock: bool, done: set[tuple[str, ...]], say: Any) -> None:
    """Say the native exporter's verdict on a case, and the stock one's when asked for; not what is known already."""
    import keras
    from comparing import check_case

    row = row_of(part, case.subject, case.label, backend)
    if case.only and backend not in case.only:
        say("row", **row, native=f"not in Keras on {backend}")
        return
    model = None
    if (*key(row), "native") not in done:
        say("begin", **row, stage="native")
        started = time.perf_counter()
        try:
            model = check_case(case)
            verdict = f"refused: {case.refused}" if case.refused else "ok"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            verdict = reason(error)
        say("row", **row, native=verdict, seconds=round(time.perf_counter() - started, 2))
    if stock and (*key(row), "stock") not in done:
        say("begin", **row, stage="stock")
        say("row", **row, stock=stock_verdict(case, model))
    keras.backend.clear_session()


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
    text = re.sub(r"/\S*/site-packages/", "", text)  # the folder where packages are installed is not a result
    return f"{type(error).__name__}: {text[:200]}"


if __name__ == "__main__":
    sys.exit(main())
