// The model in the page: loads its parts after the page is shown, and runs it in a worker.
"use strict";

const received = new Map();
const shown = new Promise((resolve) => addEventListener("load", () => setTimeout(resolve)));

// Each part is a script that calls this; a page that is opened from a disk may load scripts and nothing else.
function part(name, index, text) {
  if (!received.has(name)) received.set(name, []);
  received.get(name)[index] = text;
}

class Model {
  #worker = null;
  #waiting = new Map();
  #count = 0;
  #broken = null;

  // `tell` is called with a line that says how far the loading is, and with "" at its end.
  constructor(about, { options = {}, tell }) {
    this.about = about;
    this.ready = this.#start(options, tell);
    this.ready.catch(() => {}); // who runs the model is told
  }

  // `feeds` and the answer: {name: {type, data, dims}}, with flat typed arrays.
  async run(feeds) {
    await this.ready;
    return (await this.#ask({ feeds })).outputs;
  }

  async #start(options, tell) {
    if (!("DecompressionStream" in self)) {
      throw new Error("This browser is too old for the page. It needs Chrome or Edge 91, Firefox 113, Safari 16.4, or newer.");
    }
    tell("Loading the model");
    await shown;
    const sizes = Object.entries(this.about.parts);
    const all = sizes.reduce((sum, [, size]) => sum + size, 0);
    let done = 0;
    let failed = false; // what went wrong stays to be read while other parts still arrive
    const progress = () => failed || tell(`Loading the model: ${(done / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB`);
    progress();
    await Promise.all(
      sizes.map(async ([name, size]) => {
        try {
          await load(name);
        } catch (error) {
          failed = true;
          throw error;
        }
        done += size;
        progress();
      }),
    );
    tell("Starting the model");
    const [wasm, model] = await Promise.all(["runtime", "model"].map(unpack));
    const script = received.get("script")[0];
    this.#worker = new Worker(URL.createObjectURL(new Blob(received.get("worker"), { type: "text/javascript" })));
    received.clear();
    this.#worker.onmessage = ({ data }) => this.#answer(data);
    this.#worker.onerror = (event) => this.#fail(event.message || "the browser refuses to start it");
    await this.#ask({ script, wasm, model, options }, [wasm.buffer, model.buffer]);
    tell("");
  }

  #ask(message, transfer = []) {
    if (this.#broken) throw this.#broken;
    const id = (this.#count += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...message }, transfer);
    });
  }

  #answer({ id, error, ...rest }) {
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) resolve(rest);
    else reject(new Error(error));
  }

  #fail(reason) {
    this.#broken = new Error(`The model cannot run here: ${reason}`);
    for (const { reject } of this.#waiting.values()) reject(this.#broken);
    this.#waiting.clear();
  }
}

function load(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = name;
    script.addEventListener("load", resolve);
    script.addEventListener("error", () => reject(new Error(`The file ${name} is missing. Copy the whole folder, then load this page again.`)));
    document.head.append(script);
  });
}

async function unpack(name) {
  const pieces = received.get(name).map(fromBase64);
  const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  return bytes;
}

// From a host, the page is kept for visits without a network.
async function keepForLater() {
  await shown;
  if ("serviceWorker" in navigator && location.protocol.startsWith("http")) {
    navigator.serviceWorker.register("sw.js").catch(() => {}); // without it the page needs the network, no more
  }
}
