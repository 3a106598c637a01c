"""The Open Inference Protocol as pure functions: bytes to arrays to bytes. Nothing here does any I/O."""
