// The page to draw on. The model takes raw pixels; all steps from there to MNIST's 28x28 are inside it.
"use strict";

const SIDE = 280; // pixels of a drawing, both ways
const find = (id) => document.getElementById(id);
const about = JSON.parse(find("about").textContent);
const parts = { digit: find("digit"), seen: find("seen"), bars: find("bars"), status: find("status") };
const answer = new Answer({ ...parts, labels: about.labels });
let loading = "";
let opened = null;

const ask = latest(async () => {
  if (pad.empty) return nothing();
  const picture = pad.showsPicture ? opened : drawing();
  try {
    const tensor = { type: "uint8", data: new Uint8Array(picture.data), dims: [picture.height, picture.width, 4] };
    const outputs = await model.run({ [about.inputs[0].name]: tensor });
    if (pad.empty) nothing();
    else show(outputs);
  } catch (error) {
    answer.nothing(error.message);
  }
});
const pad = new Pad(find("pad"), (empty) => {
  if (empty) nothing();
  else if (loading) answer.status.textContent = loading;
  ask();
});

function nothing() {
  answer.nothing(loading || "Nothing drawn yet.");
}

function drawing() {
  const context = pad.copy(SIDE).getContext("2d");
  return { data: context.getImageData(0, 0, SIDE, SIDE).data, width: SIDE, height: SIDE };
}

function show({ probabilities, image28, ink_fraction: ink }) {
  if (!(ink.data[0] > 0)) {
    answer.nothing("Nothing found: nothing stands out from the background.");
    return;
  }
  const shares = Array.from(probabilities.data);
  const digit = shares.indexOf(Math.max(...shares));
  answer.show({ digit, label: about.labels[digit], probabilities: shares, confidence: shares[digit], seen: image28.data });
}

find("clear").addEventListener("click", () => pad.clear());
find("undo").addEventListener("click", () => pad.undo());
takeFiles(find("file"), async (file) => {
  try {
    opened = await readPicture(file);
    pad.show(opened.bitmap);
  } catch (error) {
    answer.nothing(error.message);
  }
});

// Optimizing the many small operations takes longer than running them.
const model = new Model(about, {
  options: { graphOptimizationLevel: "disabled" },
  tell: (line) => {
    loading = line;
    if (line || pad.empty) answer.status.textContent = line || "Nothing drawn yet.";
  },
});
model.ready.then(
  () => (document.body.dataset.model = "ready"),
  (error) => {
    loading = error.message;
    answer.nothing(error.message);
  },
);
keepForLater();
