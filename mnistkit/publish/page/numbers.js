// The page for any model: arrays in, arrays out.
"use strict";

const find = (id) => document.getElementById(id);
const about = JSON.parse(find("about").textContent);
const fields = about.inputs.map((tensor) => new Field(tensor, tell));
let loading = "";
let answers = null;

function tell(line) {
  find("status").textContent = line || loading;
}

const run = latest(async () => {
  const feeds = {};
  for (const field of fields) {
    try {
      feeds[field.name] = field.value;
    } catch (error) {
      field.focus();
      return tell(error.message);
    }
  }
  tell("Running");
  try {
    answers = await model.run(feeds);
  } catch (error) {
    return tell(`The model refuses the inputs: ${error.message}`);
  }
  const order = about.outputs.map(({ name }) => name);
  find("outputs").replaceChildren(...order.map((name) => resultOf(name, answers[name], about.labels)));
  find("save").disabled = false;
  tell("Done");
});

async function open(file) {
  if (file.type.startsWith("image/")) {
    const field = fields.find((one) => one.takePicture);
    if (!field) return tell("No input of this model has the shape of a picture.");
    await field.takePicture(file);
    return run();
  }
  try {
    fill(JSON.parse(await file.text()));
  } catch (error) {
    return tell(error instanceof SyntaxError ? `${file.name || "This"} is no JSON.` : error.message);
  }
  run();
}

function fill(values) {
  const names = fields.map(({ name }) => name);
  const [missing, unknown] = [names.filter((name) => !Object.hasOwn(values ?? {}, name)), Object.keys(values ?? {}).filter((name) => !names.includes(name))];
  if (missing.length) throw new Error(`The file has no array for ${missing.join(", ")}. It needs ${names.join(", ")}.`);
  if (unknown.length) throw new Error(`The model has no input ${unknown.join(", ")}. It has ${names.join(", ")}.`);
  for (const field of fields) field.value = values[field.name];
}

function showExample() {
  for (const field of fields) field.value = about.example?.[field.name] ?? zeros(field.tensor);
}

function save() {
  const all = Object.fromEntries(Object.entries(answers).map(([name, tensor]) => [name, toJson(tensor)]));
  const link = make("a", { href: URL.createObjectURL(new Blob([JSON.stringify(all)], { type: "application/json" })), download: `${about.name}-outputs.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

find("inputs").append(...fields.map(({ element }) => element));
find("inputs").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
find("example").addEventListener("click", showExample);
find("save").addEventListener("click", save);
takeFiles(find("file"), open);

const model = new Model(about, {
  tell: (line) => {
    loading = line;
    tell(line);
  },
});
model.ready.then(
  () => (document.body.dataset.model = "ready"),
  (error) => {
    loading = error.message;
    tell("");
  },
);
for (const field of fields) {
  if (about.example) field.value = about.example[field.name];
  else if (!field.takePicture) field.value = zeros(field.tensor);
}
keepForLater();
