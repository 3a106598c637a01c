"""Every private or unstable name of JAX that the trainer uses, each with its purpose."""

from __future__ import annotations

from mnistkit.training.hook import Hook

_JAXPR_AS_FUN = Hook(("jax.extend.core:jaxpr_as_fun",), "put a traced step into a loop")
_TRACED_JAXPR = Hook(("jax.stages:Traced.jaxpr",), "look at the operations of a traced step")

_BACKENDS = Hook(
    ("jax._src.xla_bridge:backends_are_initialized",),
    "tell whether it is too late to meet other processes",
    required=False,
)
_DISTRIBUTED = Hook(("jax._src.distributed:global_state",), "let go of processes that are gone", required=False)
ALLGATHER = Hook(
    ("jax.experimental.multihost_utils:process_allgather",), "hear from the other processes", required=False
)

HOOKS = (_JAXPR_AS_FUN, _TRACED_JAXPR, _BACKENDS, _DISTRIBUTED, ALLGATHER)

jaxpr_as_fun = _JAXPR_AS_FUN.get_or_none()
backends_are_initialized = _BACKENDS.get_or_none()
distributed_state = _DISTRIBUTED.get_or_none()
