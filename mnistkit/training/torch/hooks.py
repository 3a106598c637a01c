"""Every private, experimental or deprecated name of PyTorch that the trainer uses, each with its purpose."""

from __future__ import annotations

from typing import Any

from mnistkit.training.hook import Hook

_MAKE_FX = Hook(("torch.fx.experimental.proxy_tensor:make_fx",), "trace a step")
_UNTRACED = Hook(
    ("torch.fx.experimental.proxy_tensor:disable_proxy_modes_tracing",), "keep random numbers out of a trace"
)
_DISPATCH_MODE = Hook(("torch.utils._python_dispatch:TorchDispatchMode",), "see which tensors a step changes")
_SCHEMA = Hook(("torch:ops.aten.add.Tensor._schema",), "know which arguments an operation changes")
_COPY_LISTS = Hook(("torch:_foreach_copy_",), "copy variables into joined buffers")
_CAST = Hook(("torch:ops.aten._to_copy.default",), "recognize conversions in a trace")
_JIT_TRACE = Hook(("torch:jit.trace",), "replay a step in TorchScript", required=False)
_JIT_UNIT = Hook(("torch:jit.CompilationUnit",), "replay a step in TorchScript", required=False)
_ALL_REDUCE = Hook(("torch:ops._c10d_functional.all_reduce",), "add up gradients in a trace", required=False)
_WAIT = Hook(("torch:ops._c10d_functional.wait_tensor",), "add up gradients in a trace", required=False)

_ADD_LISTS = Hook(("torch:_foreach_add_",), "sum up the gradients of the time steps")
_LSTM = Hook(("torch:ops.aten.mkldnn_rnn_layer",), "run an LSTM in one call", required=False)
_LSTM_BACKWARD = Hook(("torch:ops.aten.mkldnn_rnn_layer_backward",), "run an LSTM in one call", required=False)
_FUSED_ADAM = Hook(
    ("torch:ops.aten._fused_adam_.tensor_lr",), "update all variables by Adam in one call", required=False
)

HOOKS = (
    _MAKE_FX,
    _UNTRACED,
    _DISPATCH_MODE,
    _SCHEMA,
    _COPY_LISTS,
    _CAST,
    _JIT_TRACE,
    _JIT_UNIT,
    _ALL_REDUCE,
    _WAIT,
    _ADD_LISTS,
    _LSTM,
    _LSTM_BACKWARD,
    _FUSED_ADAM,
)

make_fx = _MAKE_FX.get_or_none()
untraced = _UNTRACED.get_or_none()
DispatchMode: Any = _DISPATCH_MODE.get_or_none()
copy_lists = _COPY_LISTS.get_or_none()
CAST = _CAST.get_or_none()
script = _JIT_TRACE.get_or_none()
ScriptSource = _JIT_UNIT.get_or_none()
all_reduce = _ALL_REDUCE.get_or_none()
wait = _WAIT.get_or_none()
add_lists = _ADD_LISTS.get_or_none()
lstm_forward = _LSTM.get_or_none()
lstm_backward = _LSTM_BACKWARD.get_or_none()
fused_adam = _FUSED_ADAM.get_or_none()

HAS_TORCHSCRIPT = script is not None and ScriptSource is not None


def schema_of(operation: Any) -> Any:
    """Return the schema of an ATen operation, or None for any other function."""
    return getattr(operation, "_schema", None)
