"""What the module of each backend's programs has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mnistkit.training.pytree import PyTree


class Program(Protocol):
    """What each backend's ``Program`` does.

    Beside the class, its module has ``to_device(tree)``; ``host_view(tensor)``, an array on the memory of such a
    tensor, or None where it lies on another device; ``state_of(model)``, what a step depends on beside its inputs;
    ``IN_EVERY_STEP``, whether ``model.fit`` runs the Python code of a model in every step; ``FIXED_LENGTH``,
    whether a program is compiled for one number of samples; ``FINALIZES_AFTER_ERRORS``, as
    ``finalizes_after_errors`` says; ``FIT_BUILDS``, whether ``model.fit`` builds model and optimizer before the
    first step; ``batch_was_taken()``, which does to the backend's global random generator what ``model.fit``
    does to build a model; and ``WORTH_STEPS``, how many steps a program must do to be worth its
    making: Keras' own steps do fewer.
    Where several processes train together, the module ``distributed`` stands in its place; ``METRICS_ARE_LOCAL``
    there tells whether each process counts its own samples alone.

    Attributes:
        asked_steps: How many steps are asked for, None where many may be; set before ``compile``.
    """

    asked_steps: int | None

    def compile(self, data: PyTree, n: int, *, size: int) -> None:
        """Get ready for batches of ``size``; leave the model as it is. What is ready already costs nothing."""

    def compile_rest(self, data: PyTree, n: int, *, size: int, epoch: int) -> None:
        """Get ready for the last batch of each epoch, of ``size``, if that is worth it in this epoch."""

    def run(self, data: PyTree, order: npt.NDArray[np.int64] | None, *, start: int, steps: int, size: int) -> Any:
        """Do ``steps`` steps on batches of ``size`` of ``order``, the first at index ``start``; update the model.

        None is the samples' own order.

        Returns:
            What the last step returned; None where that is the model's metrics.
        """
