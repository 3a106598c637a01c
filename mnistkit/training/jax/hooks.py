"""Every private or unstable name of JAX that the trainer uses, each with its purpose."""

from __future__ import annotations

from mnistkit.training.hook import Hook

_JAXPR_AS_FUN = Hook(("jax.extend.core:jaxpr_as_fun",), "put a traced step into a loop")
_TRACED_JAXPR = Hook(("jax.stages:Traced.jaxpr",), "look at the operations of a traced step")

HOOKS = (_JAXPR_AS_FUN, _TRACED_JAXPR)

jaxpr_as_fun = _JAXPR_AS_FUN.get_or_none()
