// The runtime's own `fetch`, in Node, Bun and Deno alike.
//
// Usage: fetch.mjs URL FILE...     POSTs each FILE, one after the other. Prints one JSON line: who ran it, and over which TLS.
import { readFileSync } from "node:fs";
import process from "node:process";

const [url, ...files] = process.argv.slice(2);
const headers = { "content-type": "application/json", authorization: "Bearer outflow-local-fixture" };
let receivedBytes = 0;
for (const file of files) {
  const answer = await fetch(url, { method: "POST", headers, body: readFileSync(file) });
  if (answer.status !== 200) throw new Error(`${file}: status ${answer.status}`);
  receivedBytes += (await answer.arrayBuffer()).byteLength;
}
console.log(JSON.stringify({ client: "fetch", versions: process.versions, receivedBytes }));
