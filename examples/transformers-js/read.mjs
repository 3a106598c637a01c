// Read a digit from a picture with a folder that `mnistkit export MODEL --hub DIR` wrote, by transformers.js:
// node read.mjs DIR ../digit.png
//
// The folder may lie on the hub as well: AutoModel.from_pretrained("USER/NAME", ...) without the two lines on env.
import path from "node:path";
import { AutoModel, RawImage, Tensor, env } from "@huggingface/transformers";

const [folder, ...pictures] = process.argv.slice(2);
if (pictures.length === 0) {
  console.error("usage: node read.mjs FOLDER PICTURE ...");
  process.exit(2);
}
env.allowRemoteModels = false;
env.localModelPath = path.dirname(path.resolve(folder));

const model = await AutoModel.from_pretrained(path.basename(path.resolve(folder)), { model_file_name: "model_picture" });
for (const file of pictures) {
  const { data, width, height, channels } = await RawImage.read(file);
  const picture = new Tensor("uint8", new Uint8Array(data), [height, width, channels]);
  const { digit, probabilities, ink_fraction } = await model({ picture });
  const drawn = ink_fraction.data[0] > 0;
  console.log(JSON.stringify({ picture: file, digit: drawn ? Number(digit.data[0]) : null, probabilities: [...probabilities.data] }));
}
