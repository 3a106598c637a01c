"""A folder that looks like the npm package onnxruntime-web, for tests in which nothing runs it."""


def make_package(folder):
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text('{"name": "onnxruntime-web", "version": "9.8.7"}')
    (folder / "dist" / "ort.wasm.bundle.min.mjs").write_text("export const InferenceSession = 0;")
    (folder / "dist" / "ort-wasm-simd-threaded.wasm").write_bytes(b"\0asm\1\0\0\0")
    return folder
