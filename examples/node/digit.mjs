// Read a digit from a picture of any size: node digit.mjs ../digit.png
//
// The file takes raw pixels; the steps from there to MNIST's 28x28 are inside. Make one for your own classifier with
// `mnistkit export MODEL.keras --picture`, and name it: node digit.mjs --model FILE.onnx PICTURE ...
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import * as ort from "onnxruntime-node";
import sharp from "sharp";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: "string", default: fileURLToPath(new URL("../../exports/mnist-cnn-picture.onnx", import.meta.url)) },
    json: { type: "boolean", default: false },
  },
});
if (positionals.length === 0) {
  console.error("usage: node digit.mjs [--model FILE.onnx] [--json] PICTURE ...");
  process.exit(2);
}

const session = await ort.InferenceSession.create(values.model);
const answers = [];
for (const path of positionals) {
  try {
    answers.push({ picture: path, ...(await read(path)) });
  } catch (error) {
    answers.push({ picture: path, error: String(error.message).split("\n")[0] });
  }
}
if (values.json) {
  console.log(JSON.stringify(answers));
} else {
  for (const { picture, digit, probabilities, error } of answers) {
    if (error) console.error(`${picture}: ${error}`);
    else console.log(`${picture}  ${digit}  (${(100 * probabilities[digit]).toFixed(1)} %)`);
  }
}
process.exitCode = answers.some(({ error }) => error) ? 1 : 0;

async function read(path) {
  // rotate() without an angle turns a photo as its EXIF says
  const { data, info } = await sharp(path).rotate().raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  const picture = new ort.Tensor("uint8", new Uint8Array(data), [info.height, info.width, info.channels]);
  const { digit, probabilities, ink_fraction } = await session.run({ picture });
  if (ink_fraction.data[0] === 0) throw new Error("no digit found; nothing stands out from the background");
  return { digit: Number(digit.data[0]), probabilities: Array.from(probabilities.data) };
}
