// The vendor's own package, in Node and Bun alike.
//
// Usage: openai.mjs PACKAGE FILE...     PACKAGE is the folder of the npm package `openai`. Sends each FILE, a chat request, one after
// the other; one that says `stream` is read event by event. Prints one JSON line: who ran it, and over which TLS.
import { readFileSync } from "node:fs";
import process from "node:process";

const [folder, ...files] = process.argv.slice(2);
const { OpenAI } = await import(`${folder}/index.mjs`);
const client = new OpenAI({ apiKey: "outflow-local-fixture", maxRetries: 0, defaultHeaders: { "x-fixture": "size=40000" } });
let events = 0;
for (const file of files) {
  const answer = await client.chat.completions.create(JSON.parse(readFileSync(file, "utf8")));
  if (Symbol.asyncIterator in answer) for await (const _ of answer) events += 1;
  else if (!answer.usage.prompt_tokens) throw new Error(`${file}: no usage`);
}
if (events < 5) throw new Error(`${events} events are no stream`);
const own = JSON.parse(readFileSync(`${folder}/package.json`, "utf8")).version;
const { bun, boringssl, node, openssl } = process.versions;
// Bun names an OpenSSL there that it does not have.
const tls = bun ? boringssl.slice(0, 12) : openssl;
console.log(JSON.stringify({ version: `${bun ?? node}, openai ${own}`, tls }));
