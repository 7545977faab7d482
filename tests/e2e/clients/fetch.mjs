// The runtime's own `fetch`, in Node, Bun and Deno alike.
//
// Usage: fetch.mjs URL FILE...     POSTs each FILE, one after the other. Prints one JSON line: who ran it, and over which TLS.
import { readFileSync } from "node:fs";
import process from "node:process";

const [url, ...files] = process.argv.slice(2);
const headers = { "x-fixture": "size=40000", "content-type": "application/json", authorization: "Bearer outflow-local-fixture" };
for (const file of files) {
  const answer = await fetch(url, { method: "POST", headers, body: readFileSync(file) });
  if (answer.status !== 200) throw new Error(`${file}: status ${answer.status}`);
  if ((await answer.arrayBuffer()).byteLength < 40000) throw new Error(`${file}: the answer is cut short`);
}
const { bun, boringssl, deno, node, openssl } = process.versions;
// Bun and Deno name an OpenSSL there that they do not have.
const version = bun ?? deno ?? node;
const tls = bun ? boringssl.slice(0, 12) : deno ? "" : openssl;
console.log(JSON.stringify({ version, tls }));
