"""Call a session without the Python that onnxruntime puts around its own call.

``InferenceSession.run`` looks at every input's name and value in Python before it calls its C++ session, which checks
names, types and shapes once more. At one small image that is a seventh of the whole call. The attribute that holds
the C++ session has no underscore-free name; where a version of onnxruntime lacks it, the public method is called.

What the wrapper does beyond the C++ session, and who does it here: it refuses a call that lacks an input
(`mnistkit.core.runtime.Runtime` counts them, which is right where no weight may be given as an input), and it has rules
for devices, so that only sessions on the CPU alone are called directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistkit.core.devices import CPU

if TYPE_CHECKING:
    from collections.abc import Callable


def direct_call(session: Any) -> Callable[..., list[Any]]:
    """What runs a session: called with output names, arrays by input name, and ``None`` for the run options."""
    is_plain = session.get_providers() == [CPU] and not session.get_overridable_initializers()
    inner = getattr(session, "_sess", None) if is_plain else None
    call: Callable[..., list[Any]] = getattr(inner, "run", None) or session.run
    return call
