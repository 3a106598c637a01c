// Read a digit from a picture, in the browser: see index.html.
//
// The file takes raw pixels; the steps from there to MNIST's 28x28 are inside. `onnxruntime-web/wasm` is the small build,
// of 14 MB; the default one is 27 MB. With a bundler: import * as ort from "onnxruntime-web/wasm".
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more need the headers COOP and COEP
const answer = document.getElementById("answer");
const session = await ort.InferenceSession.create("../../exports/mnist-cnn-picture.onnx");
answer.textContent = "No picture yet.";

async function read(file) {
  // Without these options a browser converts colors to its screen's; from-image turns a photo as its EXIF says.
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  const { width, height } = bitmap;
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  const picture = new ort.Tensor("uint8", pixels, [height, width, 4]);
  const { digit, probabilities, ink_fraction } = await session.run({ picture });
  if (ink_fraction.data[0] === 0) throw new Error("no digit found; nothing stands out from the background");
  return { digit: Number(digit.data[0]), probabilities: Array.from(probabilities.data) };
}

async function show(file) {
  try {
    const { digit, probabilities } = await read(file);
    answer.textContent = `${file.name}  ${digit}  (${(100 * probabilities[digit]).toFixed(1)} %)`;
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
