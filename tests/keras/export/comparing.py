"""One place for "the file answers as the model does", used by every test of the native exporter."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from keras import tree
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidGraph, RuntimeException

from mnistkit.core.errors import ExportError
from mnistkit.core.golden import is_text, words_of
from mnistkit.export.native import Conversion, convert
from mnistkit.export.native.signature import signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOLERANCE = 1e-4
ONE_SIZE = os.environ.get("MNISTKIT_TESTS_ONE_SIZE") == "1"
"""Compare at one batch size and one length alone, for environments that look for what another Keras breaks."""

# what onnxruntime raises for a graph that cannot be loaded or run
MUTANT_CANNOT_RUN = (RuntimeException, InvalidArgument, InvalidGraph, Fail)


def redraw(model: Any, *, seed: int = 0) -> Any:
    """Draw all weights anew, so that no layer is an identity and answers differ from one input to the next."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" in variable.name or not str(variable.dtype).startswith(("float", "bfloat")):
            continue
        shape = tuple(variable.shape)
        if "variance" in variable.name:
            value = rng.uniform(0.5, 1.5, shape)
        elif "gamma" in variable.name or "scale" in variable.name:
            value = rng.uniform(0.7, 1.3, shape)
        else:
            fan = np.prod(shape[:-1]) if len(shape) > 1 else 100.0
            value = rng.normal(0.0, 1.0, shape) * (1.4 / max(float(fan), 1.0) ** 0.5)
        variable.assign(value.astype("float32"))
    return model


def draw(spec: Any, *, batch: int, length: int, rng: Any, high: int = 5) -> np.ndarray[Any, Any]:
    """Draw one input: sizes left free become ``batch`` and ``length``."""
    shape = [(batch if axis == 0 else length) if size is None else size for axis, size in enumerate(spec.shape)]
    if spec.dtype == "bool":
        return rng.random(shape) < 0.5
    if spec.dtype.startswith(("int", "uint")):
        return rng.integers(0, high, shape).astype(spec.dtype)
    return rng.normal(0.0, 1.0, shape).astype("float32" if spec.dtype == "bfloat16" else spec.dtype)


def session(proto: Any) -> ort.InferenceSession:
    """Load a model from bytes."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def compare(expected: Any, got: Any, *, atol: float = TOLERANCE, nan: bool = False) -> float:
    """Return the largest difference.

    Args:
        expected: What Keras answers.
        got: What the file answers.
        atol: Tolerance, of answers scaled to 1.
        nan: Whether NaN is the right answer where Keras answers NaN; else a NaN on either side is an error.

    Raises:
        AssertionError: A difference is over the tolerance, or shapes, types or words differ.
    """
    worst = 0.0
    for a, b in zip(map(np.asarray, expected), map(np.asarray, got), strict=True):
        assert a.shape == b.shape, f"shape {b.shape} in place of {a.shape}"
        if is_text(a):
            assert words_of(a) == words_of(b), "the words differ"
            continue
        # backends disagree about int32 and int64; a file cannot, and has the type of Keras' inference
        same = a.dtype == b.dtype or (a.dtype.kind == b.dtype.kind == "i") or "bfloat16" in str(a.dtype)
        assert same, f"type {b.dtype} in place of {a.dtype}"
        if a.dtype.kind in "biu":
            assert np.array_equal(a, b), f"{np.sum(a != b)} of {a.size} integers differ"
            continue
        wide, answer = a.astype("float64"), b.astype("float64")
        assert nan or not np.isnan(wide).any(), "Keras answers NaN, which this test does not ask for"
        both = (np.isnan(wide) & np.isnan(answer)) | (wide == answer)
        difference = np.where(both, 0.0, np.abs(np.where(both, 0.0, wide) - np.where(both, 0.0, answer)))
        scale = max(1.0, float(np.max(np.abs(wide[np.isfinite(wide)]), initial=0.0)))
        largest = float(np.max(difference, initial=0.0)) / scale
        assert largest <= atol, f"largest difference {largest:.3g} is over {atol:.3g}"
        worst = max(worst, largest)
    return worst


def call(model: Any, structure: Any, keywords: list[str]) -> list[np.ndarray[Any, Any]]:
    """Run the Keras model and return flat NumPy outputs."""
    flags = {"training": False} if model._call_has_training_arg else {}

    def run(structure: Any) -> Any:
        if keywords:
            named = dict(zip(keywords, structure, strict=True))
            return model(named.pop(keywords[0]), **named, **flags)
        return model(structure, **flags)

    outputs = _compiled(run, structure) if keras.backend.backend() == "jax" else run(structure)
    return [np.asarray(keras.ops.convert_to_numpy(x)) for x in tree.flatten(outputs) if x is not None]


def _compiled(run: Any, structure: Any) -> Any:
    """One program for the whole model: JAX compiles every operation for every shape otherwise, minutes in all."""
    import jax

    def stateless(structure: Any) -> Any:
        with keras.StatelessScope():
            return run(structure)

    try:
        return jax.jit(stateless)(structure)
    # It looks at values. Keras 3.16 hands an error whose class takes no mere message on as a RuntimeError.
    except (jax.errors.JAXTypeError, jax.errors.JAXIndexError, TypeError, AttributeError, RuntimeError):
        return run(structure)


def agree(
    model: Any,
    *,
    batches: tuple[int, ...] = (1, 2, 5),
    lengths: tuple[int, ...] = (6, 9),
    high: int = 5,
    atol: float = TOLERANCE,
    mutant: bool = True,
    nan: bool = False,
    nonsense: tuple[str, ...] = (),
    check: bool = True,
    draw: Any = draw,
    proto: Any = None,
    foreign: Any = None,
    **options: Any,
) -> Conversion:
    """Write a model, run file and model on the same inputs at several sizes, and require equal answers.

    The negative twin runs every time on the exporter's own files: with one float initializer a little larger, or, when
    there is none or ``mutant`` is False, with the result of one node changed, the comparison must fail. It must fail as
    well with each kind of ``nonsense`` (of :data:`NONSENSE`) in place of the file's answers.
    """
    written = convert(model, **options) if foreign is None else Conversion(foreign, {}, None, None)
    if proto is not None:  # another file than the model's own: for the negative twins
        written.proto.CopyFrom(proto)
    if check:
        onnx.checker.check_model(written.proto, full_check=True)
    structure, _, keywords = signature(model, inputs=options.get("inputs"))
    flat = tree.flatten(structure)
    free = any(size is None for spec in flat for size in spec.shape[1:])
    runner = session(written.proto)
    names = [x.name for x in runner.get_inputs()]
    rng = np.random.default_rng(1)
    last: Any = None
    for length in lengths if free and not ONE_SIZE else lengths[-1:]:
        for batch in batches[-1:] if ONE_SIZE else batches:
            arrays = [draw(spec, batch=batch, length=length, rng=rng, high=high) for spec in flat]
            expected = call(model, tree.pack_sequence_as(structure, arrays), keywords)
            if foreign is not None:
                feed = by_shape(runner, arrays)
                got = [a.astype(b.dtype) for a, b in zip(runner.run(None, feed), expected, strict=True)]
                compare(expected, got, atol=atol, nan=nan)
                continue
            feed = dict(zip(tree.flatten(written.inputs), arrays, strict=True))
            feed = {name: array for name, array in feed.items() if name in names}
            compare(expected, runner.run(tree.flatten(written.outputs), feed), atol=atol, nan=nan)
            last = (expected, feed)
    if foreign is None:
        assert_mutant_caught(written, *last, atol=atol, nan=nan, weights=mutant)
        for kind in nonsense:
            assert_nonsense_caught(NONSENSE[kind], *last, atol=atol, nan=nan)
    return written


def _input_itself(expected: list[Any], feed: dict[str, Any]) -> list[Any] | None:
    found = [[x for x in feed.values() if x.shape == a.shape and x.dtype == a.dtype] for a in expected]
    return [same[0] for same in found] if all(found) else None


# Answers that nobody computed; None where there is no such answer.
NONSENSE: dict[str, Callable[[list[Any], dict[str, Any]], list[Any] | None]] = {
    "zeros": lambda expected, _: [np.zeros_like(a) for a in expected],
    "ones": lambda expected, _: [np.ones_like(a) for a in expected],
    "input": _input_itself,
}


def assert_nonsense_caught(answer: Any, expected: Any, feed: Any, *, atol: float, nan: bool) -> None:
    """Require that the comparison notices an answer that nobody computed.

    Raises:
        AssertionError: It passes: the inputs do not exercise the operation.
    """
    got = answer(expected, feed)
    if got is None:
        return
    try:
        compare(expected, got, atol=atol, nan=nan)
    except AssertionError:
        return
    raise AssertionError("nonsense agrees with Keras: the inputs do not exercise the operation")


def assert_mutant_caught(
    written: Conversion,
    expected: Any,
    feed: Any,
    *,
    atol: float = TOLERANCE,
    nan: bool = False,
    weights: bool = True,
) -> None:
    """Change the file a little and require that the comparison notices.

    Raises:
        AssertionError: No mutant was caught, or none could be made.
    """
    mutants = _scaled_weights(written.proto) if weights else iter(())
    first = next(mutants, None)
    mutants = _changed_nodes(written.proto) if first is None else itertools.chain([first], mutants)
    tried = 0
    for mutant in mutants:
        try:
            got = session(mutant).run(tree.flatten(written.outputs), feed)
        except MUTANT_CANNOT_RUN:  # a changed size or index: not a wrong answer but none
            continue
        tried += 1
        try:
            compare(expected, got, atol=atol, nan=nan)
        except AssertionError:
            return
    if tried == 0 and any(np.asarray(a).dtype.kind in "OSU" for a in expected):  # words have no arithmetic
        with pytest.raises(AssertionError, match="the words differ"):
            compare(expected, [np.full(np.shape(a), "no such word", object) for a in expected], atol=atol)
        return
    raise AssertionError(f"{tried} mutants and none was caught: the comparison cannot fail")


def _scaled_weights(proto: Any) -> Iterator[Any]:
    """Scale one weight tensor by 1.03, the largest first; the same model each time."""
    candidates = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and np.prod(t.dims) > 1]
    candidates.sort(key=lambda t: -int(np.prod(t.dims)))
    for tensor in candidates[:6]:
        kept = tensor.raw_data
        tensor.raw_data = (onnx.numpy_helper.to_array(tensor) * np.float32(1.03)).astype("float32").tobytes()
        try:
            yield proto
        finally:
            tensor.raw_data = kept


def _changed_nodes(proto: Any) -> Iterator[Any]:
    """Change the result of one node: floats by 3 % and 0.03, integers by 1, truth values to their opposite."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    types = {v.name: v.type.tensor_type.elem_type for v in (*inferred.graph.value_info, *inferred.graph.output)}
    outputs = [(index, name) for index, node in enumerate(proto.graph.node) for name in node.output]
    for index, name in outputs[:16]:
        kind = types.get(name, 0)
        if kind in (0, onnx.TensorProto.STRING):
            continue
        mutant = type(proto)()
        mutant.CopyFrom(proto)
        made = mutant.graph.node[index].output
        made[list(made).index(name)] = f"{name}/kept"
        if kind == onnx.TensorProto.BOOL:
            steps = [("Not", None)]
        elif kind in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
            steps = [("Mul", 1.03), ("Add", 0.03)]
        else:
            steps = [("Add", 1)]
        source = f"{name}/kept"
        for number, (op, constant) in enumerate(steps):
            inputs = [source]
            if constant is not None:
                number_in_kind = np.asarray(constant, onnx.helper.tensor_dtype_to_np_dtype(kind))
                mutant.graph.initializer.append(onnx.numpy_helper.from_array(number_in_kind, f"{name}/{op}"))
                inputs.append(f"{name}/{op}")
            source = name if number == len(steps) - 1 else f"{name}/{number}"
            mutant.graph.node.insert(index + 1 + number, onnx.helper.make_node(op, inputs, [source]))
        yield mutant


def by_shape(runner: Any, arrays: list[Any]) -> dict[str, Any]:
    """Feed a file that another exporter wrote: inputs in order; its names are its own."""
    types = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(bool)": "bool"}
    wanted = runner.get_inputs()
    return {i.name: a.astype(types.get(i.type, a.dtype)) for i, a in zip(wanted, arrays, strict=True)}


def signature_of(model: Any, drawing: Any, *, length: int, high: int) -> tuple[Any, list[str], Any]:
    """Return (structure, keywords, arrays) for one call at batch 2."""
    structure, _, keywords = signature(model)
    rng = np.random.default_rng(3)
    arrays = [drawing(spec, batch=2, length=length, rng=rng, high=high) for spec in tree.flatten(structure)]
    return structure, keywords, tree.pack_sequence_as(structure, arrays)


def drawer(case: Any) -> Any:
    """Return :func:`draw` for a case: words for strings, pictures for images."""

    def made(spec: Any, *, batch: int, length: int, rng: Any, high: int = 5) -> np.ndarray[Any, Any]:
        if spec.dtype == "string":
            shape = [(batch if axis == 0 else length) if size is None else size for axis, size in enumerate(spec.shape)]
            return np.asarray(rng.choice(["a", "b", "zz", ""], shape), dtype=object)
        array = draw(spec, batch=batch, length=length, rng=rng, high=high)
        return rng.uniform(0, case.pictures, array.shape).astype(array.dtype) if case.pictures else array

    return made


def check_case(case: Any, *, full: bool = True) -> Any:
    """Build a case's model, write it and compare; or require the refusal that the case names. Returns the model.

    Raises:
        AssertionError: Answers differ, or what must be refused was written.
        UnsupportedError: The native exporter has no translation.
    """
    model = case.build()
    if case.redraw:
        redraw(model)
    if case.refused:
        with pytest.raises(ExportError, match=case.refused):
            convert(model)
        return model
    agree(
        model, lengths=case.lengths, high=case.high, atol=case.atol, mutant=case.mutant, check=full, draw=drawer(case)
    )
    return model
