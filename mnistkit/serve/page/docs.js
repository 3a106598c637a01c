// Shows /openapi.json: each path with its parameters, bodies and answers.
// A server with a token is used as /docs#token=...; what stands behind # is never sent with the page's own address.

const find = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const methods = ["get", "post", "put", "patch", "delete"];

// Everything is set as text: nothing in the document can become markup.
function make(tag, about = {}, ...children) {
  const made = Object.assign(document.createElement(tag), about);
  made.append(...children.filter((child) => child !== null));
  return made;
}

function named(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(named).join(" or ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const kinds = [schema.type ?? "anything"].flat().join(" or ");
  if (schema.type === "array") return `list of ${named(schema.items) || "anything"}`;
  return schema.format ? `${kinds} (${schema.format})` : kinds;
}

// A schema's name as a link to it, where it has one.
function linked(schema) {
  const parts = (schema?.anyOf ?? [schema]).map((one) => {
    const target = (one?.$ref ?? one?.items?.$ref)?.split("/").pop();
    return target ? make("a", { href: `#schema-${target}`, textContent: named(one) }) : named(one);
  });
  return make("span", {}, ...parts.flatMap((part, place) => (place ? [" or ", part] : [part])));
}

function table(title, rows) {
  if (!rows.length) return null;
  const list = make("dl");
  for (const [name, ...about] of rows) {
    list.append(make("dt", {}, make("code", { textContent: name })), make("dd", {}, ...about));
  }
  return make("div", {}, make("h3", { textContent: title }), list);
}

const contents = (content) => Object.entries(content ?? {}).map(([type, { schema }]) => [type, linked(schema)]);

function operation(method, path, about, shared) {
  const parameters = [...shared, ...(about.parameters ?? [])].map((one) => [
    one.name,
    `${one.in}${one.required ? ", required" : ""}: `,
    linked(one.schema),
    one.description ? `. ${one.description}` : "",
  ]);
  const answers = Object.entries(about.responses).map(([status, answer]) => {
    const kinds = contents(answer.content).flatMap(([type, shown]) => [` · ${type} `, shown]);
    return [status, answer.description ?? "", ...kinds];
  });
  return make(
    "details",
    { id: about.operationId },
    make(
      "summary",
      {},
      make("span", { className: "method", textContent: method.toUpperCase() }),
      make("code", { textContent: path }),
      make("span", { textContent: about.summary ?? "" }),
    ),
    make(
      "div",
      { className: "body" },
      about.description ? make("p", { textContent: about.description }) : null,
      table("Parameters", parameters),
      table("Body", contents(about.requestBody?.content)),
      table("Answers", answers),
    ),
  );
}

function schema(name, about) {
  const text = make("pre", { textContent: JSON.stringify(about, null, 2) });
  const head = make("summary", {}, make("code", { textContent: name }));
  return make("details", { id: `schema-${name}` }, head, make("div", { className: "body" }, text));
}

function open() {
  const target = find(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

function show(document_) {
  find("title").textContent = `${document_.info.title} ${document_.info.version}`;
  find("about").textContent = document_.info.description;
  for (const [path, about] of Object.entries(document_.paths)) {
    for (const method of methods.filter((name) => name in about)) {
      find("paths").append(operation(method, path, about[method], about.parameters ?? []));
    }
  }
  find("schemas-title").hidden = false;
  for (const [name, about] of Object.entries(document_.components.schemas)) find("schemas").append(schema(name, about));
  addEventListener("hashchange", open);
  open();
}

try {
  const response = await fetch("openapi.json", { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  const body = await response.json();
  if (response.ok) show(body);
  else find("about").textContent = response.status === 401 ? `${body.error}; open this page as docs#token=...` : body.error;
} catch (error) {
  find("about").textContent = `The server does not answer (${error.message}).`;
}
document.body.dataset.state = "settled";
