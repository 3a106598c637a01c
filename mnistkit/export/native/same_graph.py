"""Say whether two traces of one model, made at other sizes, are the same graph.

Both are walked in step. A size in the first is a formula; it must give, at the sizes of the second, what the second has
in that place. A number, a constant or an operation must be the same in both.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import KerasTensor

from mnistkit.export.native.arrays import to_numpy
from mnistkit.export.native.records import Record, Trace, Weight
from mnistkit.export.native.symbolic_dim import SymbolicDim, evaluate, first_size, second_size

_BOOKKEEPING = {"name", "captured", "specs"}


def first_other_record(a: Trace, b: Trace) -> Record | None:
    """Return the first record of ``b`` that is not that of ``a``; None when the two traces are one graph.

    Where all records agree and the outputs do not, it is the last record.
    """
    walk = _Walk()
    for x, y in zip(a.inputs, b.inputs, strict=True):
        walk.pair(x, y)
    for one, other in zip(a.states, b.states, strict=False):
        walk.pair(one.before, other.before)
    for x, y in zip(a.records, b.records, strict=False):
        if not walk.same_record(x, y):
            return y
    if len(a.records) != len(b.records):
        longer = a.records if len(a.records) > len(b.records) else b.records
        return longer[min(len(a.records), len(b.records))]
    ends = [(trace.outputs, [state.after for state in trace.states]) for trace in (a, b)]
    if len(a.unsupported) != len(b.unsupported) or not walk.same(*ends):
        return b.records[-1] if b.records else Record(None, "", (), {}, None)
    return None


class _Walk:
    """Which tensor of the second trace stands for which of the first."""

    def __init__(self) -> None:
        self.partner: dict[int, Any] = {}
        self.kept: list[Any] = []  # ids stay unique while the tensors live

    def pair(self, a: Any, b: Any) -> None:
        self.partner[id(a)] = b
        self.kept.append(a)

    def same_record(self, a: Record, b: Record) -> bool:
        if type(a.target) is not type(b.target) or a.scope != b.scope or a.is_layer != b.is_layer:
            return False
        if a.is_layer and a.target is not b.target:
            return False
        if not self.same((a.args, a.kwargs), (b.args, b.kwargs)):
            return False
        if not a.is_layer and not self.same(_attributes(a.target), _attributes(b.target)):
            return False
        return self._outputs(a.outputs, b.outputs)

    def same(self, a: Any, b: Any) -> bool:
        if isinstance(a, SymbolicDim) or isinstance(b, SymbolicDim):
            return self._same_size(a, b)
        if isinstance(a, KerasTensor):
            if id(a) not in self.partner and isinstance(b, KerasTensor):  # the own tensor of a loop's step
                self.pair(a, b)
                return a.dtype == b.dtype and len(a.shape) == len(b.shape)
            return self.partner.get(id(a)) is b
        if isinstance(a, Weight):
            return isinstance(b, Weight) and a.variable is b.variable and a.dtype == b.dtype
        if isinstance(a, Record):
            return isinstance(b, Record) and self.same_record(a, b)
        if isinstance(a, (list, tuple)):
            return (
                isinstance(b, (list, tuple))
                and len(a) == len(b)
                and all(self.same(x, y) for x, y in zip(a, b, strict=True))
            )
        if isinstance(a, dict):
            return isinstance(b, dict) and a.keys() == b.keys() and all(self.same(a[key], b[key]) for key in a)
        if isinstance(a, slice):
            return isinstance(b, slice) and self.same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
        if dataclasses.is_dataclass(a) and not isinstance(a, type):
            return type(a) is type(b) and self.same(_attributes(a), _attributes(b))
        return _same_constant(a, b)

    def _outputs(self, a: Any, b: Any) -> bool:
        left, right = keras.tree.flatten(a), keras.tree.flatten(b)
        if len(left) != len(right):
            return False
        for x, y in zip(left, right, strict=True):
            if isinstance(x, KerasTensor) != isinstance(y, KerasTensor):
                return False
            if isinstance(x, KerasTensor):
                if x.dtype != y.dtype or len(x.shape) != len(y.shape):
                    return False
                self.pair(x, y)
        return True

    def _same_size(self, a: Any, b: Any) -> bool:
        if not all(isinstance(size, (int, np.integer)) for size in (a, b)):
            return False
        return all(self._value(a, of) == of(b) for of in (first_size, second_size))

    def _value(self, size: Any, of: Any) -> Any:
        """What a size of the first trace is at the sizes of the second."""

        def axis_size(axis: SymbolicDim) -> int:
            _, tensor, place = axis.expr
            partner = self.partner.get(id(tensor))
            return int(of(axis if partner is None else partner.shape[place]))

        return evaluate(size, axis_size)


def _attributes(target: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(target):
        return {field.name: getattr(target, field.name) for field in dataclasses.fields(target)}
    return {key: value for key, value in vars(target).items() if key[0] != "_" and key not in _BOOKKEEPING}


def _same_constant(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, (bool, int, float, complex, str, bytes, type(None))):
        return type(a) is type(b) and (a == b or (a != a and b != b))  # noqa: PLR0124  NaN
    if hasattr(a, "shape") and hasattr(a, "dtype"):
        if not (hasattr(b, "shape") and hasattr(b, "dtype")):
            return False
        x, y = to_numpy(a), to_numpy(b)
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    return type(a) is type(b)  # a function, a policy: nothing of it goes into the file by itself
