// Read all digits of a picture: node number.mjs MODEL-number.onnx PICTURE ...
//
// The file is written by `mnistkit export MODEL.keras --picture --number`. It takes raw pixels and gives the text.
import * as ort from "onnxruntime-node";
import sharp from "sharp";

const [model, ...pictures] = process.argv.slice(2);
if (pictures.length === 0) {
  console.error("usage: node number.mjs MODEL-number.onnx PICTURE ...");
  process.exit(2);
}

const session = await ort.InferenceSession.create(model);
for (const path of pictures) {
  try {
    console.log(JSON.stringify({ picture: path, ...(await read(path)) }));
  } catch (error) {
    console.error(`${path}: ${String(error.message).split("\n")[0]}`);
    process.exitCode = 1;
  }
}

async function read(path) {
  // rotate() without an angle turns a photo as its EXIF says
  const { data, info } = await sharp(path).rotate().raw({ depth: "uchar" }).toBuffer({ resolveWithObject: true });
  const picture = new ort.Tensor("uint8", new Uint8Array(data), [info.height, info.width, info.channels]);
  const { text, confidence, in_doubt } = await session.run({ picture });
  return { text: new TextDecoder().decode(text.data), confidence: confidence.data[0], in_doubt: in_doubt.data[0] === 1 };
}
