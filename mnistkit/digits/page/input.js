// How pictures come in, and how work follows what changes.
"use strict";

// Calls `open` with each file that is chosen, dropped or pasted.
function takeFiles(input, open) {
  const take = (file) => file && open(file);
  input.addEventListener("change", () => {
    take(input.files[0]);
    input.value = "";
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", () => document.body.classList.remove("dropping"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take(event.clipboardData.files[0]));
}

// A function that does `work` at each call, one at a time; what changed during the work is worked on once, after it.
// The page says "asking" and "settled" of itself.
function latest(work) {
  let working = false;
  let stale = false;
  return async () => {
    stale = true;
    document.body.dataset.state = "asking";
    if (working) return;
    working = true;
    try {
      while (stale) {
        stale = false;
        await work();
      }
    } finally {
      working = false;
      document.body.dataset.state = "settled";
    }
  };
}
