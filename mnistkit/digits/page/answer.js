// The view of an answer: the label, the probabilities, and what the model saw.
"use strict";

const percent = (share) => `${(share * 100).toFixed(1)} %`;
const others = ([, ...rest]) => rest.map(({ label, confidence }) => ` or ${label} (${percent(confidence)})`).join("");

class Answer {
  // `labels` are the names of the ten classes.
  constructor({ digit, seen, bars, status, labels = [..."0123456789"] }) {
    Object.assign(this, { digit, seen, bars, status });
    this.long = labels.some((label) => label.length > 2);
    for (const part of [digit, bars]) part.classList.toggle("words", this.long);
    for (const name of labels) {
      const row = document.createElement("li");
      const label = document.createElement("span");
      const meter = document.createElement("div");
      const share = document.createElement("span");
      label.textContent = name;
      meter.className = "meter";
      meter.setAttribute("role", "meter");
      meter.setAttribute("aria-label", `probability of ${name}`);
      meter.setAttribute("aria-valuemax", 100);
      meter.append(document.createElement("div"));
      row.append(label, meter, share);
      bars.append(row);
    }
    this.nothing("Nothing drawn yet.");
  }

  // `seen` is 28 rows of 28 numbers in [0, 1], or all of them in a row; `probabilities` ten numbers; `candidates` what
  // it may be, with labels and confidences.
  show({ label, digit, probabilities, confidence, seen, candidates = [] }) {
    this.#label(label);
    this.#bars(probabilities, digit);
    this.#picture(seen);
    this.seen.setAttribute("aria-label", `What the model saw, read as ${label}`);
    this.status.textContent = `${percent(confidence)} sure${others(candidates)}`;
  }

  // Several digits on one picture: `rows` are their texts.
  several({ rows, confidence, digits }, candidates) {
    this.#label(rows.join(" / "));
    this.#bars(new Array(10).fill(0), -1);
    this.#picture(null);
    this.seen.setAttribute("aria-label", "What the model saw: several digits, one by one");
    this.status.textContent = `${digits.length} digits, ${percent(confidence)} sure of all${others(candidates)}`;
  }

  nothing(message) {
    this.digit.textContent = "?";
    this.digit.classList.add("none");
    this.digit.classList.toggle("words", this.long);
    this.#bars(new Array(10).fill(0), -1);
    this.#picture(null);
    this.seen.setAttribute("aria-label", "What the model saw: nothing yet");
    this.status.textContent = message;
  }

  #label(text) {
    this.digit.textContent = text;
    this.digit.classList.remove("none");
    this.digit.classList.toggle("words", this.long || text.length > 2);
  }

  #bars(probabilities, best) {
    probabilities.forEach((share, number) => {
      const row = this.bars.children[number];
      row.classList.toggle("best", number === best);
      row.children[1].setAttribute("aria-valuenow", (share * 100).toFixed(1));
      row.children[1].firstChild.style.width = `${share * 100}%`;
      row.children[2].textContent = best < 0 ? "" : percent(share);
    });
  }

  #picture(rows) {
    const levels = rows && Array.from(rows).flat();
    const context = this.seen.getContext("2d");
    const image = context.createImageData(28, 28);
    for (let at = 0; at < 784; at += 1) {
      const gray = levels ? Math.round(levels[at] * 255) : 0;
      image.data.set([gray, gray, gray, 255], at * 4);
    }
    context.putImageData(image, 0, 0);
  }
}
