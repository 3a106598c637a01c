// The inputs on the page: one field for each, with what was typed or the numbers of a picture.
"use strict";

const SHOWN_NUMBERS = 5000; // a field with more is slow to type in

// Everything is set as text: nothing in a model or in a file can become markup.
function make(tag, about = {}, ...children) {
  const made = Object.assign(document.createElement(tag), about);
  made.append(...children);
  return made;
}

class Field {
  #held = null; // a tensor that is too large to be shown

  constructor(tensor, tell) {
    this.tensor = tensor;
    this.name = tensor.name;
    const id = `input-${tensor.name}`;
    this.text = make("textarea", { id, rows: 4, spellcheck: false, autocomplete: "off" });
    this.text.setAttribute("aria-describedby", `${id}-type`);
    this.text.addEventListener("input", () => (this.#held = null));
    const type = make("span", { id: `${id}-type`, className: "quiet", textContent: `${tensor.type} ${sizes(tensor.shape)}` });
    this.element = make("div", { className: "field" }, make("label", { htmlFor: id, textContent: tensor.name }), type, this.text);
    const layout = pictureLayout(tensor);
    if (layout) this.element.append(this.#pictureRow(layout, id, tell));
  }

  get value() {
    if (this.#held) return this.#held;
    let value;
    try {
      value = JSON.parse(this.text.value);
    } catch {
      throw new Error(this.text.value.trim() ? `${this.name}: this is no JSON; write nested arrays such as [[1, 2], [3, 4]].` : `${this.name}: is empty.`);
    }
    return toTensor(this.tensor, value);
  }

  set value(value) {
    this.#held = null;
    const tensor = toTensor(this.tensor, value);
    if (tensor.data.length > SHOWN_NUMBERS) this.#hold(tensor, "from a file");
    else this.text.value = inRows(value);
  }

  focus() {
    this.text.focus();
  }

  #hold(tensor, from) {
    this.#held = tensor;
    this.text.value = "";
    this.text.placeholder = `${tensor.data.length.toLocaleString("en")} numbers ${from}; type to replace them`;
  }

  #pictureRow(layout, id, tell) {
    const scales = this.tensor.type.startsWith("float") ? { "0 to 1": [1 / 255, 0], "0 to 255": [1, 0], "-1 to 1": [2 / 255, -1] } : { "0 to 255": [1, 0] };
    const scale = make("select", { id: `${id}-scale` }, ...Object.keys(scales).map((name) => make("option", { textContent: name })));
    const file = make("input", { type: "file", accept: "image/*" });
    file.setAttribute("aria-label", `Picture for ${this.name}`);
    const read = async (given) => {
      try {
        const picture = await readPicture(given);
        const { tensor, words } = pictureTensor(this.tensor, layout, picture, scales[scale.value]);
        this.#hold(tensor, `from ${given.name || "a picture"}, ${words}`);
        tell("");
      } catch (error) {
        tell(error.message);
      }
    };
    file.addEventListener("change", () => {
      if (file.files[0]) read(file.files[0]);
      file.value = "";
    });
    this.takePicture = read;
    return make(
      "div",
      { className: "picture" },
      make("label", { className: "button" }, "Picture…", file),
      make("label", { htmlFor: scale.id, textContent: "scaled to" }),
      scale,
    );
  }
}

// JSON with one line for each row of the outer array.
function inRows(value) {
  if (!Array.isArray(value) || !value.some(Array.isArray)) return inOneLine(value);
  return `[${value.map(inOneLine).join(",\n ")}]`;
}

function inOneLine(value) {
  return Array.isArray(value) ? `[${value.map(inOneLine).join(", ")}]` : JSON.stringify(value);
}

// Zeros, for a model that has no example of its own.
function zeros({ type, shape }) {
  const one = type === "string" ? "" : type === "bool" ? false : 0;
  return shape.reduceRight((inner, size) => Array.from({ length: size === null || typeof size === "string" ? 1 : size }, () => inner), one);
}

// Where height, width and channels are in a shape that can be a picture's, or null.
function pictureLayout({ type, shape }) {
  if (!(type.startsWith("float") || type === "uint8") || type === "float64") return null;
  const isChannels = (size) => size === 1 || size === 3 || size === 4;
  const isSide = (size) => typeof size !== "number" || size > 4;
  const at = shape.length - 3;
  if (at < 0 || at > 1 || (at === 1 && typeof shape[0] === "number" && shape[0] !== 1)) return null;
  const [a, b, c] = shape.slice(at);
  if (isSide(a) && isSide(b) && (isChannels(c) || (type === "uint8" && typeof c !== "number"))) return { batch: at, height: a, width: b, channels: c, last: true };
  if (isChannels(a) && isSide(b) && isSide(c)) return { batch: at, height: b, width: c, channels: a, last: false };
  return null;
}

// The pixels of a picture as a tensor; a fixed size is reached by stretching.
function pictureTensor({ type }, { batch, height, width, channels, last }, picture, [factor, offset]) {
  const own = (size, side) => (typeof size === "number" ? size : side);
  const [h, w, c] = [own(height, picture.height), own(width, picture.width), own(channels, 4)];
  const pixels = h === picture.height && w === picture.width ? picture.data : drawnPixels(picture.bitmap, { width: w, height: h });
  const convert = type === "float16" ? halfBits : (number) => number;
  const data = new ARRAYS[type](h * w * c);
  for (let at = 0; at < h * w; at += 1) {
    for (let channel = 0; channel < c; channel += 1) {
      const from = at * 4;
      const gray = 0.299 * pixels[from] + 0.587 * pixels[from + 1] + 0.114 * pixels[from + 2];
      const level = c === 1 ? gray : pixels[from + channel];
      data[last ? at * c + channel : channel * h * w + at] = convert(type === "uint8" ? Math.round(level) : level * factor + offset);
    }
  }
  const dims = last ? [h, w, c] : [c, h, w];
  return { tensor: { type, data, dims: batch ? [1, ...dims] : dims }, words: `${w} × ${h} pixels, ${c} ${c === 1 ? "channel" : "channels"}` };
}
