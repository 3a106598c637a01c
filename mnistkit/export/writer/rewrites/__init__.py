"""Operations expressed by other ``keras.ops``; importing this package registers them all."""

from mnistkit.export.writer.rewrites import arrays, control, elementwise, images, losses, statistics

__all__ = ["arrays", "control", "elementwise", "images", "losses", "statistics"]
