"""Operations expressed by other ``keras.ops``; importing this package registers them all."""

from mnistkit.export.native.decompositions import (
    arrays,
    audio,
    control,
    elementwise,
    images,
    losses,
    special,
    statistics,
    wrappers,
)

__all__ = ["arrays", "audio", "control", "elementwise", "images", "losses", "special", "statistics", "wrappers"]
