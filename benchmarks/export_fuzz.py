"""Random functional models, written by the native exporter and compared with Keras.

    KERAS_BACKEND=torch python benchmarks/export_fuzz.py --count 500

Each seed from ``--seed`` up stands for one model (`random_models.draw_model`) and for options of the exporter.
``--only SEED`` runs one of them again. The file is held against Keras as an export does it: at batch sizes 1, 2, 3 and
16 and at lengths 24, 9, 1 and 224, on noise, indices, padding, large numbers, zeros of both signs, the limits of the
types, and on NaN and infinities. Types are compared too. Prints a line for each:

- ``equal``: all answers agree.
- ``rounding``: the same, but where a rounding decides.
- ``NaN differs``: the same, but for inputs that are NaN or infinite; an export says so and writes the file.
- ``refused``: the exporter says which part cannot be written.
- ``Keras fails``: Keras itself does not build the model, or answers none of the inputs.
- ``DIFFERENT``: the file answers otherwise, is not valid, or the exporter crashes. The program then ends with 1.

Two right computations can be apart where a rounding decides (the place of the largest of two numbers that differ in
their last bit). So an answer that is off is held against what Keras answers when every layer and operation of the model
has its result moved by about its last bit, and its inputs: where that moves the very same number as far, it is
rounding.

``results/export_fuzz.json`` keeps the verdicts of each backend, after every few models. ``--resume`` leaves out those
that it has. ``python tools/docs_tables.py`` makes a table of it. For JAX, set
``XLA_FLAGS="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "torch")

import keras  # noqa: TID253 - after the backend is chosen
import numpy as np
import onnx  # noqa: TID253 - as the exporter does
import onnxruntime as ort
from random_models import draw_model

from mnistkit.core.errors import ExportError, MnistkitError, ParityError, one_line
from mnistkit.core.runtime import Runtime
from mnistkit.export.answers import KerasAnswers
from mnistkit.export.choose import choose
from mnistkit.export.collect_samples import drawn_samples
from mnistkit.export.diagnose import first_difference
from mnistkit.export.native.lower_record import FAULT
from mnistkit.export.verification import derived_atol, run_in_steps, verify_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mnistkit.export.choose import Chosen
    from mnistkit.export.samples import Sample

BACKEND = keras.backend.backend()
RESULTS = Path(__file__).parent / "results" / "export_fuzz.json"
KEPT_EVERY = 10
SHAKES = 16
TIMES_SHAKEN = 16.0
UNDERFLOWING = frozenset(("Exp", "Exp2", "Sigmoid", "Softmax"))
"""Operations whose zeros may be numbers below the smallest, which some runtimes keep."""
FROM_ONE = frozenset(("Celu", "ELU", "Elu", "Selu"))
"""Operations that subtract from one: what is left is off by the last bit of one."""
PRODUCTS = frozenset(("Dot", "Einsum", "Matmul", "Tensordot"))
"""Operations that sum products up."""
EXACT = (keras.layers.Embedding, keras.layers.Normalization)
"""Layers with weights that sum nothing up."""
VERDICTS = ("equal", "rounding", "NaN differs", "refused", "Keras fails", "DIFFERENT")


@dataclasses.dataclass
class Verdict:
    """What became of one model.

    Attributes:
        kind: One of `VERDICTS`.
        detail: Why, in words.
    """

    kind: str
    detail: str = ""


def check(seed: int) -> tuple[Verdict, str]:
    """Draw a model, write it and compare; return the verdict and the model in words."""
    try:
        model, drawn = draw_model(seed)
    except Exception as error:  # noqa: BLE001 - Keras refuses with whatever its backend raises
        return Verdict("Keras fails", f"building: {type(error).__name__} {one_line(error, limit=200)}"), ""
    draw = random.Random(f"options {seed}")  # noqa: S311 - not for secrets
    opset = draw.choice([None, None, None, 18, 20, 21])
    options = {"opset": opset, "optimize": draw.random() < 0.8, "batch": draw.choice([None] * 9 + [4])}
    words = f"{'; '.join(drawn.words)} | " + ", ".join(f"{k}={v}" for k, v in options.items() if v is not None)
    try:
        chosen = choose(model, "native", **options)
    except MnistkitError as error:
        if FAULT in str(error):
            return Verdict("DIFFERENT", one_line(error, limit=400)), words
        return Verdict("refused", f"{type(error).__name__}: {one_line(error, limit=300)}"), words
    except Exception as error:  # noqa: BLE001 - a fault
        place = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(place.filename).name}:{place.lineno}"
        return Verdict("DIFFERENT", f"crash: {type(error).__name__} {one_line(error, limit=300)} at {at}"), words
    return compare(model, chosen), words


def compare(model: Any, chosen: Chosen) -> Verdict:
    """Hold a written model against Keras."""
    answers = KerasAnswers(model, chosen.signature)
    atol = derived_atol(model)
    try:
        samples = drawn_samples(answers, chosen.proto.graph, atol=atol)
    except ExportError as error:
        return Verdict("Keras fails", one_line(error, limit=300))
    rounding, notes = [], []

    def told(error: MnistkitError) -> str:  # folder names are drawn
        return one_line(error, limit=300).replace(f"{folder}/", "")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(chosen.proto.SerializeToString())
        with contextlib.suppress(MnistkitError):  # looked at one by one below
            _, notes = verify_samples(path, samples, atol=atol, answers=answers)
            _check_types(path, samples[0])
            samples = []
        for sample in samples:
            try:
                _, told = verify_samples(path, [sample], atol=atol, answers=answers)
                notes += told
                _check_types(path, sample)
            except ParityError as error:
                if not _is_rounding(path, answers, sample, atol=atol):
                    where = first_difference(model, chosen, sample, atol)
                    return Verdict("DIFFERENT", f"{told(error)}{where}")
                rounding.append(one_line(error, limit=200))
            except MnistkitError as error:
                return Verdict("DIFFERENT", f"{sample.name}: {told(error)}")
    if notes:
        return Verdict("NaN differs", one_line(ParityError(notes[0]), limit=300))
    return Verdict("rounding", rounding[0]) if rounding else Verdict("equal")


def _is_rounding(path: Path, answers: KerasAnswers, sample: Sample, *, atol: float) -> bool:
    try:
        if computes_in_half(answers.model):
            sample = as_half(answers, sample)
            with contextlib.suppress(ParityError):
                verify_samples(path, [sample], atol=atol, answers=answers)
                return True
        return decided_by_rounding(path, answers, sample, atol=atol)
    except MnistkitError:
        return False


def _check_types(path: Path, sample: Sample) -> None:
    """Hold the types of the answers against Keras': a graph has one type for an answer, whatever the batch.

    Raises:
        ParityError: One is of another type. Widths of whole numbers differ between backends and within them.
    """
    for tensor in Runtime(path, device="cpu", exact=True).outputs:
        expected = sample.expected[tensor.name].dtype
        got = np.dtype(tensor.dtype)
        if got != expected and not got.kind == expected.kind == "i":
            raise ParityError(f"{tensor.name}: expected type {expected}, got {got}")


# -- roundings --------------------------------------------------------------------------------------------------------


def decided_by_rounding(path: Path, answers: KerasAnswers, sample: Sample, *, atol: float) -> bool:
    """Whether Keras' own answers move as far, at each place where the file is off, when results move by a last bit."""
    runtime = Runtime(path, device="cpu", exact=True)
    inputs = {tensor.name: sample.inputs[tensor.name] for tensor in answers.signature.inputs}
    with np.errstate(all="ignore"):
        shaken = [_shaken_answers(answers, inputs, seed) for seed in range(SHAKES)]
    for size in sample.batch_sizes:
        got = run_in_steps(runtime, inputs, size)
        for name, answer in got.items():
            expected = sample.expected[name]
            if expected.ndim != answer.ndim:
                return False
            seen = expected if sample.is_whole or not expected.ndim else expected[: len(answer)]
            others = [part[name][: len(answer)] if answer.ndim else part[name] for part in shaken]
            if seen.shape != answer.shape or any(other.shape != seen.shape for other in others):
                return False
            if not _explained(seen, answer, others, atol=atol):
                return False
    return True


def _explained(expected: Any, answer: Any, others: list[Any], *, atol: float) -> bool:
    left, right = expected.astype("float64"), answer.astype("float64")
    if not np.array_equal(np.isfinite(left), np.isfinite(right)):
        return False
    with np.errstate(all="ignore"):
        off = np.nan_to_num(np.abs(left - right))
        scale = max(1.0, float(np.abs(left[np.isfinite(left)]).max(initial=0)))
        moved = np.max([np.nan_to_num(np.abs(other.astype("float64") - left)) for other in others], axis=0)
    allowed = 0.0 if expected.dtype.kind in "biu" else atol * scale
    return bool((off <= np.maximum(allowed, TIMES_SHAKEN * moved)).all())


def _shaken_answers(answers: KerasAnswers, inputs: Any, seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    moved = {name: _moved_array(x, generator) if x.dtype.kind == "f" else x for name, x in inputs.items()}
    with _shaking(generator):
        return answers.signature.call(answers.model, moved)


@contextlib.contextmanager
def _shaking(generator: np.random.Generator) -> Iterator[None]:
    """Move the result of every layer and operation by about its last bit; whole numbers stay."""
    original = keras.Operation.__call__

    def call(operation: Any, *args: Any, **options: Any) -> Any:
        name = type(operation).__name__
        weighs = isinstance(operation, keras.Layer) and bool(operation.weights) and not isinstance(operation, EXACT)
        sums = weighs or name in PRODUCTS
        return moved(original(operation, *args, **options), name, sums=sums)

    def moved(answers: Any, name: str, *, sums: bool = False) -> Any:
        vanishes, least = name in UNDERFLOWING, float(name in FROM_ONE)
        return keras.tree.map_structure(
            lambda x: _moved(x, generator, vanishes=vanishes, sums=sums or least > 0, least=least), answers
        )

    def plain(name: str, function: Any) -> Any:  # what the functions inside layers call
        return lambda *args, **options: moved(function(*args, **options), name)

    functions = {name: getattr(keras.ops, name.lower()) for name in (*UNDERFLOWING, *FROM_ONE - {"ELU"})}
    keras.Operation.__call__ = call
    try:
        for name, function in functions.items():
            setattr(keras.ops, name.lower(), plain(name, function))
        yield
    finally:
        keras.Operation.__call__ = original
        for name, function in functions.items():
            setattr(keras.ops, name.lower(), function)


def _moved(x: Any, generator: np.random.Generator, *, vanishes: bool, sums: bool, least: float) -> Any:
    if x is None or not keras.ops.is_tensor(x) or not keras.backend.standardize_dtype(x.dtype).startswith("float"):
        return x
    try:
        array = keras.ops.convert_to_numpy(x)
    except Exception:  # noqa: BLE001 - a symbol of a loop that the backend compiles
        return x
    moved = keras.ops.convert_to_tensor(_moved_array(array, generator, vanishes=vanishes, sums=sums, least=least))
    mask = getattr(x, "_keras_mask", None)
    if mask is not None:
        moved._keras_mask = mask  # noqa: SLF001 - where Keras keeps it
    return moved


def _moved_array(
    array: Any, generator: np.random.Generator, *, vanishes: bool = False, sums: bool = False, least: float = 0.0
) -> Any:
    """The same numbers, each a last bit off; zeros of any sign; the smallest numbers perhaps zero.

    Sums are off by a last bit of the largest one, or of ``least`` where that is larger. Zeros that are vanishing
    numbers may be the smallest numbers. Numbers that are whole throughout stay, for they are counts or indices, unless
    they are so large that none has a fraction.
    """
    limits = np.finfo(array.dtype)
    with np.errstate(all="ignore"):
        if sums:
            largest = np.abs(array[np.isfinite(array)]).max(initial=0).astype("float64")
            largest = max(float(largest), least)
            moved = array + 2 * float(limits.eps) * largest * generator.uniform(-1, 1, array.shape)
        elif (array == np.round(array)).all() and not np.abs(array).max(initial=0) > 1 / (16 * limits.eps):
            moved = array.copy()
        else:
            moved = array * (1 + 2 * float(limits.eps) * generator.uniform(-1, 1, array.shape))
    coin = generator.random(array.shape) < 0.5
    moved = np.where((np.abs(array) <= 1024 * float(limits.tiny)) & coin, 0.0, moved)
    if generator.random() < 0.5:
        moved = np.where(np.abs(array) <= float(limits.eps) * least, 0.0, moved)
    if vanishes:
        moved = np.where((moved == 0) & (generator.random(array.shape) < 0.5), limits.tiny, moved)
    return np.where((moved == 0) & (generator.random(array.shape) < 0.5), -moved, moved).astype(array.dtype)


def computes_in_half(model: Any) -> bool:
    """Whether a layer of a model computes in half precision, or it takes or makes such numbers."""
    kinds = {layer.compute_dtype for layer in model._flatten_layers()}  # noqa: SLF001 - no public walk
    return "float16" in kinds or any("float16" in str(x.dtype) for x in (*model.inputs, *model.outputs))


def as_half(answers: KerasAnswers, sample: Sample) -> Sample:
    """The sample with inputs that half precision holds: onnxruntime may leave a cast out that loses digits."""
    with np.errstate(all="ignore"):
        inputs = {
            key: array.astype("float16").astype(array.dtype) if array.dtype.kind == "f" else array
            for key, array in sample.inputs.items()
        }
        return dataclasses.replace(sample, inputs=inputs, expected=answers(inputs))


# -- the run ----------------------------------------------------------------------------------------------------------


def kept() -> dict[str, Any]:
    """The results of all backends."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def keep(verdicts: dict[int, Verdict]) -> None:
    """Write the verdicts of this backend into the JSON; those of other seeds and of other backends stay."""
    versions = {"keras": keras.__version__, "onnx": onnx.__version__, "onnxruntime": ort.__version__}
    RESULTS.parent.mkdir(exist_ok=True)
    with (Path(tempfile.gettempdir()) / "mnistkit_export_fuzz.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = kept()
        own = results.get(BACKEND, {})
        known = own if own.get("versions") == versions else {"models": {}, "details": {}}
        models = known["models"] | {str(seed): verdict.kind for seed, verdict in verdicts.items()}
        details = known["details"] | {str(seed): verdict.detail for seed, verdict in verdicts.items()}
        ordered = sorted(models, key=int)
        results[BACKEND] = {
            "versions": versions,
            "counts": {kind: list(models.values()).count(kind) for kind in VERDICTS},
            "models": {seed: models[seed] for seed in ordered},
            "details": {seed: details[seed] for seed in ordered if details.get(seed)},
        }
        made = RESULTS.with_suffix(".json.new")
        made.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n", encoding="utf-8")
        made.replace(RESULTS)


def main(arguments: list[str] | None = None) -> int:
    """Run the models; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500, help="how many models (500)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first (0)")
    parser.add_argument("--only", type=int, metavar="SEED", help="run this one alone, and keep nothing")
    parser.add_argument("--resume", action="store_true", help="leave out the seeds that the JSON has")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    seeds = list(range(given.seed, given.seed + given.count)) if given.only is None else [given.only]
    if given.resume:
        known = kept().get(BACKEND, {}).get("models", {})
        seeds = [seed for seed in seeds if str(seed) not in known]
    verdicts: dict[int, Verdict] = {}
    begun = time.monotonic()
    for done, seed in enumerate(seeds, start=1):
        started = time.monotonic()
        verdict, words = check(seed)
        verdicts[seed] = verdict
        now = time.monotonic()
        left = (now - begun) / done * (len(seeds) - done)
        clock = f"{now - started:5.1f} s, {left / 60:4.0f} min left"
        print(f"{seed:5} {verdict.kind:11} {clock}  {verdict.detail} | {words}", flush=True)
        if given.only is None and (done % KEPT_EVERY == 0 or done == len(seeds)):
            keep(verdicts)
    counts = ", ".join(f"{count} {kind}" for kind, count in Counter(v.kind for v in verdicts.values()).items())
    print(f"keras {keras.__version__}, {BACKEND}: {counts}; {time.monotonic() - begun:.0f} s")
    return 1 if any(verdict.kind == "DIFFERENT" for verdict in verdicts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
