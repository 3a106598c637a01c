// Run any exported file on numbers: node run.mjs MODEL.onnx INPUTS.json
//
// INPUTS.json has an array for each input by its name, nested as its shape: {"age": [[31], [54]], "words": [[4, 9, 1]]}.
// Prints the outputs in the same form. `mnistkit info MODEL.onnx` shows names, types and shapes.
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

const TYPES = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
};

const [model, inputs] = process.argv.slice(2);
if (!inputs) {
  console.error("usage: node run.mjs MODEL.onnx INPUTS.json");
  process.exit(2);
}
try {
  const session = await ort.InferenceSession.create(model);
  const given = JSON.parse(await readFile(inputs, "utf8"));
  const feeds = {};
  for (const { name, type } of session.inputMetadata) {
    if (!(name in given)) throw new Error(`input ${name}: expected an array, got none`);
    feeds[name] = tensor(name, type, given[name]);
  }
  const outputs = await session.run(feeds);
  const shown = Object.entries(outputs).map(([name, value]) => [name, nested(Array.from(value.data), value.dims)]);
  console.log(JSON.stringify(Object.fromEntries(shown), (_, value) => (typeof value === "bigint" ? Number(value) : value)));
} catch (error) {
  console.error(String(error.message).split("\n")[0]);
  process.exitCode = 1;
}

function tensor(name, type, array) {
  const shape = [];
  for (let inner = array; Array.isArray(inner); inner = inner[0]) shape.push(inner.length);
  const flat = array.flat(Infinity);
  if (flat.length !== shape.reduce((product, size) => product * size, 1)) throw new Error(`input ${name}: rows differ in length`);
  if (type === "string") return new ort.Tensor("string", flat.map(String), shape);
  if (!(type in TYPES)) throw new Error(`input ${name}: ${type} is not handled here`);
  const numbers = type === "int64" ? flat.map(BigInt) : flat;
  return new ort.Tensor(type, TYPES[type].from(numbers), shape);
}

function nested(flat, [size, ...rest]) {
  if (size === undefined) return flat[0];
  if (rest.length === 0) return flat;
  const step = flat.length / size;
  return Array.from({ length: size }, (_, i) => nested(flat.slice(i * step, (i + 1) * step), rest));
}
