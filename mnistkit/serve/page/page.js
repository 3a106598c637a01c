// The server's page: sends the pad's picture to /predict and shows the answer.
// A server with a token is used as /#token=...; what stands behind # is never sent with the page's own address.
"use strict";

const SIDE = 560; // pixels of the picture that is sent
const find = (id) => document.getElementById(id);
const answer = new Answer({ digit: find("digit"), seen: find("seen"), bars: find("bars"), status: find("status") });
const token = new URLSearchParams(location.hash.slice(1)).get("token");

const ask = latest(async () => {
  if (pad.empty) return;
  await send(await new Promise((resolve) => pad.copy(SIDE).toBlob(resolve, "image/png")));
});
const pad = new Pad(find("pad"), (empty) => {
  if (empty) answer.nothing("Nothing drawn yet.");
  ask();
});

async function send(picture) {
  const headers = { "Content-Type": "image/png" };
  if (token) headers.Authorization = `Bearer ${token}`;
  try {
    const response = await fetch("predict?explain=1", { method: "POST", headers, body: picture });
    const body = await response.json();
    if (pad.empty) answer.nothing("Nothing drawn yet.");
    else if (!response.ok) answer.nothing(body.error);
    else if (body.predictions[0].number) answer.several(body.predictions[0].number, body.predictions[0].candidates);
    else answer.show(body.predictions[0]);
  } catch (error) {
    answer.nothing(`The server does not answer (${error.message}).`);
  }
}

find("clear").addEventListener("click", () => pad.clear());
find("undo").addEventListener("click", () => pad.undo());
takeFiles(find("file"), async (file) => {
  try {
    pad.show(await createImageBitmap(file));
  } catch {
    answer.nothing(`${file.name || "This"} is not a picture that this browser can show.`);
  }
});
