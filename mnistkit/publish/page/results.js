// The outputs on the page: bars where the model's classes have names, and the numbers.
"use strict";

const ROWS = 5; // that get bars
const BARS = 10; // in each
const SHOWN_LETTERS = 20_000;

function resultOf(name, tensor, labels) {
  const title = make("h3", {}, name, make("span", { className: "quiet", textContent: ` ${tensor.type} ${sizes(tensor.dims)}` }));
  const text = inRows(toJson(tensor));
  const long = text.length > SHOWN_LETTERS;
  const numbers = make("pre", { tabIndex: 0, textContent: long ? `${text.slice(0, SHOWN_LETTERS)} …` : text });
  numbers.setAttribute("role", "region");
  numbers.setAttribute("aria-label", `Numbers of ${name}`);
  const result = make("article", {}, title, ...bars(tensor, labels), numbers);
  if (long) result.append(make("p", { className: "quiet", textContent: "This is the beginning. The saved file has all numbers." }));
  return result;
}

// One list for each of the first rows, the largest first; none where the output is not one number for each class.
function bars(tensor, labels) {
  const count = tensor.dims.at(-1);
  if (!labels || count !== labels.length || tensor.dims.length > 2 || tensor.type === "string") return [];
  const all = elements(tensor).map(Number);
  const rows = tensor.dims.length === 2 ? tensor.dims[0] : 1;
  const lists = Array.from({ length: Math.min(rows, ROWS) }, (_, at) => {
    const list = barList(all.slice(at * count, (at + 1) * count), labels);
    if (rows > 1) list.setAttribute("aria-label", `Row ${at + 1}`);
    return rows > 1 ? make("div", { className: "row" }, make("h4", { textContent: `Row ${at + 1}` }), list) : list;
  });
  if (rows > ROWS) lists.push(make("p", { className: "quiet", textContent: `${rows - ROWS} more rows are in the numbers.` }));
  return lists;
}

function barList(scores, labels) {
  const order = scores.map((_, at) => at).sort((a, b) => scores[b] - scores[a]);
  const areShares = scores.every((score) => score >= 0 && score <= 1);
  const items = order.slice(0, BARS).map((at, place) => {
    const item = make("li", { className: place ? "" : "best" }, make("span", { textContent: labels[at] }));
    const meter = make("div", { className: "meter" });
    if (areShares) {
      meter.setAttribute("role", "meter");
      meter.setAttribute("aria-label", `probability of ${labels[at]}`);
      meter.setAttribute("aria-valuemax", 100);
      meter.setAttribute("aria-valuenow", (scores[at] * 100).toFixed(1));
      const filled = make("div");
      filled.style.width = `${scores[at] * 100}%`;
      meter.append(filled);
    }
    item.append(meter, make("span", { textContent: areShares ? `${(scores[at] * 100).toFixed(1)} %` : scores[at].toPrecision(4) }));
    return item;
  });
  return make("ol", { className: `bars ${labels.some((label) => label.length > 3) ? "words" : ""}` }, ...items);
}
