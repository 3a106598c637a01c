"""What a traced model does with the number of a free size, other than computing further sizes.

A file is written for every size, so nothing in it may depend on the sizes that the model was traced with. Code of the
model can compare a size (:func:`note_comparison`): the comparison is kept, and :mod:`.size_verification` calls the
model on its other side. Or it can take the number itself (:func:`note_number`), and then nobody knows what it does with
it: outside Keras that is refused at once; Keras' own code is called again at other sizes.
"""

from __future__ import annotations

import operator
import sys
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from mnistkit.core.errors import ExportError
from mnistkit.export.native.current_trace import TRACING

if TYPE_CHECKING:
    from types import FrameType

CURE = (
    "a fixed size works: a number in keras.Input(shape=...), or batch=N for the batch axis; or compute with the size "
    "through keras.ops (where, cond, cast)"
)

_COMPARISONS = {name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")}
_SIGNS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_FRAMEWORKS = {"jax", "jaxlib", "torch", "tensorflow"}
_SIZES_PASS_THROUGH = {*_FRAMEWORKS, "numpy", "optree", "tree", "ml_dtypes"}


class FreeSizeError(ExportError):
    """The model decides by a free size, so that no one graph answers as it does at every size."""


@dataclass(frozen=True, slots=True)
class SizeComparison:
    """A comparison that the model's own code made of a free size.

    Attributes:
        name: Of the function of :mod:`operator`.
        left: A size.
        right: A size or a number.
        outcome: What it gave at the sizes of the trace.
        scope: Path of the layer.
        place: File and line.
        is_own: The code is Keras' or the exporter's own.
    """

    name: str
    left: Any
    right: Any
    outcome: bool
    scope: str
    place: str
    is_own: bool

    def holds(self, left: Any, right: Any) -> bool:
        """Compare two numbers."""
        return bool(_COMPARISONS[self.name](left, right))

    @property
    def sign(self) -> str:
        """How Python writes it."""
        return _SIGNS[self.name]


def note_comparison(name: str, left: Any, right: Any) -> bool:
    """Compare a free size as it is in the first inference, and keep the comparison in the trace."""
    compare = _COMPARISONS[name]
    outcome = bool(compare(left.first_size, getattr(right, "first_size", right)))
    tracer = TRACING.active
    if tracer is not None and not _same(left, right):
        frame, is_own = _culprit()
        found = SizeComparison(name, left, right, outcome, tracer.scope, _place(frame), is_own)
        tracer.trace.comparisons.append(found)
    return outcome


def note_number(size: Any, what: str) -> int:
    """Give the number that a size has in the first inference to Keras; refuse it to all others while they are traced.

    Raises:
        FreeSizeError: Code that is not Keras' asks for it.
        TypeError: A framework asks for it, as it does for the shape of a symbolic tensor that a layer hands to it. The
            layer may do without under another backend's name, or another exporter may follow it.
    """
    tracer = TRACING.active
    if tracer is not None:
        framework = _framework_that_asks()
        if framework is not None:
            raise TypeError(f"{framework} takes no free size ({_place(_culprit()[0])})")
        frame, is_own = _culprit()
        if is_own and frame is not None and not _is_harmless(frame):
            tracer.trace.numbers_taken.append((tracer.scope, _place(frame)))
        if not is_own:
            refusal = (
                f"{tracer.scope or 'the model'}: a free size is {what} ({_place(frame)}), and the file would hold the "
                f"number of one size for all; {CURE}"
            )
            tracer.trace.size_refusals.append(refusal)
            raise FreeSizeError(refusal)
    return int(size.first_size)


def _same(left: Any, right: Any) -> bool:
    return hasattr(right, "expr_key") and bool(left.expr_key() == right.expr_key())


def _framework_that_asks() -> str | None:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  the only way to see who asks
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith("mnistkit.export.native.symbolic"):
        frame = frame.f_back
    package = "" if frame is None else str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package if package in _FRAMEWORKS else None


def _culprit() -> tuple[FrameType | None, bool]:
    """Return the frame that asked, and whether it is Keras' or the exporter's own."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  the only way to see who compares
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if module.startswith("mnistkit.export.native.symbolic_dim"):
            frame = frame.f_back
        elif package in {"keras", "mnistkit"}:
            return frame, True
        elif package in _SIZES_PASS_THROUGH or package in sys.stdlib_module_names:
            frame = frame.f_back
        else:
            return frame, False
    return None, True


def _is_harmless(frame: FrameType) -> bool:
    """Keras makes plain shapes to build layers and to check them; the exporter asks for what it writes symbolically."""
    names = {frame.f_code.co_name, frame.f_back.f_code.co_name if frame.f_back else ""}  # a lambda's, and around it
    return "standardize_shape" in names or str(frame.f_globals["__name__"]).startswith("mnistkit.")


def _place(frame: FrameType | None) -> str:
    return "?" if frame is None else f"{PurePath(frame.f_code.co_filename).name}, line {frame.f_lineno}"
