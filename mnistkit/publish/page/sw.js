// Keeps this page for visits without a network. The page itself is asked for anew where there is one, so that a new
// version shows at once; every other file has its digest in its name and never changes.
"use strict";

const FILES = "@FILES@";
const MINE = `mnistkit page ${registration.scope} `; // several pages may share one host
const CACHE = `${MINE}@VERSION@`;

addEventListener("install", (event) => {
  skipWaiting();
  const keep = (cache) => cache.addAll(FILES.map((name) => new Request(name, { cache: name === "./" ? "reload" : "default" })));
  event.waitUntil(caches.open(CACHE).then(keep));
});

addEventListener("activate", (event) => {
  const isOld = (name) => name.startsWith(MINE) && name !== CACHE;
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter(isOld).map((name) => caches.delete(name))))
      .then(() => clients.claim()),
  );
});

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(registration.scope)) return;
  event.respondWith(request.mode === "navigate" ? fresh(request) : kept(request));
});

async function fresh(request) {
  try {
    return await fetch(request);
  } catch (error) {
    const page = await (await caches.open(CACHE)).match("./");
    if (page) return page;
    throw error;
  }
}

async function kept(request) {
  return (await (await caches.open(CACHE)).match(request)) ?? fetch(request);
}
