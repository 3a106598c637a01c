// Runs the model away from the page, so that drawing never waits. Made from text: a page that is opened from a disk may
// not load a worker from a file. One thread, because more need headers that static hosts do not send.
let session = null;
let ort = null;

onmessage = async ({ data }) => {
  try {
    if (session === null) await start(data);
    else await run(data);
  } catch (error) {
    postMessage({ id: data.id, error: String(error.message ?? error).split("\n")[0] });
  }
};

async function start({ id, script, wasm, model, options }) {
  ort = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm;
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3, ...options });
  postMessage({ id });
}

async function run({ id, feeds }) {
  const tensors = Object.entries(feeds).map(([name, { type, data, dims }]) => [name, new ort.Tensor(type, data, dims)]);
  const outputs = await session.run(Object.fromEntries(tensors));
  const answers = Object.entries(outputs).map(([name, { type, data, dims }]) => [name, { type, data, dims: [...dims] }]);
  postMessage({ id, outputs: Object.fromEntries(answers) });
}
