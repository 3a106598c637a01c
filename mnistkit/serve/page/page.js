// The server's page: sends the pad's picture to /predict and shows the answer.
// A server with a token is used as /#token=...; what stands behind # is never sent with the page's own address.

import { Answer, Pad } from "./pad.js";

const find = (id) => document.getElementById(id);
const answer = new Answer({ digit: find("digit"), seen: find("seen"), bars: find("bars"), status: find("status") });
const token = new URLSearchParams(location.hash.slice(1)).get("token");
let asking = false;
let stale = false;

const pad = new Pad(find("pad"), (empty) => {
  if (empty) answer.nothing("Nothing drawn yet.");
  ask();
});

// One request at a time; what changed meanwhile is asked for when the answer is there.
async function ask() {
  stale = true;
  document.body.dataset.state = "asking";
  if (asking) return;
  asking = true;
  try {
    while (stale) {
      stale = false;
      if (pad.empty) continue;
      await send(await pad.blob());
    }
  } finally {
    asking = false;
    document.body.dataset.state = "settled";
  }
}

async function send(picture) {
  const headers = { "Content-Type": "image/png" };
  if (token) headers.Authorization = `Bearer ${token}`;
  try {
    const response = await fetch("predict?explain=1", { method: "POST", headers, body: picture });
    const body = await response.json();
    if (pad.empty) answer.nothing("Nothing drawn yet.");
    else if (response.ok) answer.show(body.predictions[0]);
    else answer.nothing(body.error);
  } catch (error) {
    answer.nothing(`The server does not answer (${error.message}).`);
  }
}

async function open(file) {
  if (!file) return;
  try {
    pad.show(await createImageBitmap(file));
  } catch {
    answer.nothing(`${file.name || "This"} is not a picture that this browser can show.`);
  }
}

find("clear").addEventListener("click", () => pad.clear());
find("undo").addEventListener("click", () => pad.undo());
find("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  open(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => open(event.clipboardData.files[0]));
