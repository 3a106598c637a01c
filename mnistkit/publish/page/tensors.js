// JSON to tensors and back. A tensor is {type, data, dims} with a flat typed array; float16 is kept as its bits.
"use strict";

const ARRAYS = {
  float16: Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
};

// `value` is nested arrays, as JSON has them. Words for what JSON lacks: "NaN", "Infinity", "-Infinity", and whole numbers
// above 2^53 as text.
function toTensor({ name, type, shape }, value) {
  const dims = [];
  for (let inner = value; Array.isArray(inner); inner = inner[0]) dims.push(inner.length);
  const flat = [];
  const collect = (inner, depth) => {
    const fits = Array.isArray(inner) ? depth < dims.length && inner.length === dims[depth] : depth === dims.length;
    if (!fits) throw new Error(`${name}: its rows differ in length.`);
    if (Array.isArray(inner)) for (const one of inner) collect(one, depth + 1);
    else flat.push(inner);
  };
  collect(value, 0);
  if (dims.length !== shape.length || shape.some((size, at) => typeof size === "number" && size !== dims[at])) {
    throw new Error(`${name}: expected the shape ${sizes(shape)}, got ${sizes(dims)}.`);
  }
  const convert = converter(type);
  const numbers = flat.map((one) => {
    try {
      return convert(one);
    } catch {
      throw new Error(`${name}: ${JSON.stringify(one)} is no ${type}.`);
    }
  });
  return { type, data: type === "string" ? numbers : ARRAYS[type].from(numbers), dims };
}

// A function from a value of JSON to an element; throws where there is none.
function converter(type) {
  const refuse = () => {
    throw new TypeError();
  };
  if (type === "string") return (value) => (typeof value === "string" ? value : refuse());
  if (type === "bool") return (value) => ([true, false, 0, 1].includes(value) ? Number(value) : refuse());
  if (type.startsWith("float")) {
    const words = { NaN, Infinity, "-Infinity": -Infinity };
    const number = (value) => (typeof value === "number" ? value : Object.hasOwn(words, value) ? words[value] : refuse());
    return type === "float16" ? (value) => halfBits(number(value)) : number;
  }
  const bits = BigInt(type.replace(/\D/g, ""));
  const [low, high] = type.startsWith("u") ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
  return (value) => {
    if (!(Number.isInteger(value) || (typeof value === "string" && /^-?\d+$/.test(value)))) refuse();
    const whole = BigInt(value);
    if (whole < low || whole > high) refuse();
    return bits === 64n ? whole : Number(whole);
  };
}

function elements({ type, data }) {
  if (type === "float16") return Array.from(data instanceof Uint16Array ? Array.from(data, halfNumber) : data);
  return Array.from(data, type === "bool" ? Boolean : undefined);
}

// Nested arrays of an output, as JSON.
function toJson(tensor) {
  const flat = elements(tensor).map((value) => {
    if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
    if (typeof value !== "number") return value;
    if (!Number.isFinite(value)) return String(value);
    return tensor.type === "float32" ? shortest(value) : value;
  });
  const nest = (from, to, [size, ...rest]) => {
    if (size === undefined) return flat[from];
    const step = size ? (to - from) / size : 0;
    return Array.from({ length: size }, (_, at) => nest(from + at * step, from + (at + 1) * step, rest));
  };
  return nest(0, flat.length, tensor.dims);
}

// The number with the fewest digits that is the same float32.
function shortest(value) {
  for (let digits = 6; digits < 9; digits += 1) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return Number(value.toPrecision(9));
}

function sizes(shape) {
  return `[${shape.map((size) => size ?? "?").join(", ")}]`;
}

// IEEE 754 binary16: one bit of sign, five of exponent, ten of fraction; to the nearest, ties to even.
function halfBits(number) {
  if (Number.isNaN(number)) return 0x7e00;
  const sign = number < 0 || Object.is(number, -0) ? 0x8000 : 0;
  const size = Math.abs(number);
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 1e-9)));
  const steps = size / 2 ** (exponent - 10);
  const below = Math.floor(steps);
  const rounded = below + (steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1) ? 1 : 0);
  return sign | ((exponent + 14) * 1024 + rounded); // of a normal number, the leading one carries into the exponent
}

function halfNumber(bits) {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}
