// Read all digits of a picture, in the browser: number.html?model=MODEL-number.onnx.
//
// The file is written by `mnistkit export MODEL.keras --picture --number`. It takes raw pixels and gives the text.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more need the headers COOP and COEP
const MOST_SIDE = 4000; // of a photo: the file needs no more, and memory grows with the pixels
const answer = document.getElementById("answer");
const model = new URLSearchParams(location.search).get("model");
const session = await ort.InferenceSession.create(model);
answer.textContent = "No picture yet.";

export async function read(file) {
  // Without these options a browser converts colors to its screen's; from-image turns a photo as its EXIF says.
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  context.drawImage(bitmap, 0, 0, width, height);
  const pixels = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  const picture = new ort.Tensor("uint8", pixels, [height, width, 4]);
  const { text, confidence, in_doubt } = await session.run({ picture });
  return { text: new TextDecoder().decode(text.data), confidence: confidence.data[0], in_doubt: in_doubt.data[0] === 1 };
}

async function show(file) {
  try {
    const { text, confidence, in_doubt } = await read(file);
    answer.textContent = text ? `${text}  (${(100 * confidence).toFixed(1)} %${in_doubt ? ", in doubt" : ""})` : "no digit found";
  } catch (error) {
    answer.textContent = `${file.name}: ${error.message}`;
  }
}

document.getElementById("file").addEventListener("change", ({ target }) => target.files[0] && show(target.files[0]));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) show(event.dataTransfer.files[0]);
});
