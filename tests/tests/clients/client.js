// Requests of Node's http with an agent that keeps connections.
const crypto = require("crypto");
const http = require("http");

const [url, host] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
const body = Buffer.alloc(1 << 20, "0123456789abcdef");
const sent = `v1 ${body.length} ${crypto.createHash("sha256").update(body).digest("hex")}`;

function ask(method, headers, send) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, agent, headers: { host, ...headers } }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part) => (text += part));
      response.on("end", () => resolve(`${response.statusCode} ${text}`.trim()));
      response.on("error", reject);
    });
    request.on("error", reject);
    send(request);
  });
}

const end = (request) => request.end();

function check(said, wanted, what) {
  if (said !== wanted) throw new Error(`${what}: ${said}, and not ${wanted}`);
}

// In pieces of any size, each when the last one has gone.
function inPieces(request) {
  let at = 0;
  const more = () => {
    while (at < body.length) {
      const piece = body.subarray(at, (at += 70001));
      if (!request.write(piece)) return void request.once("drain", more);
    }
    request.end();
  };
  more();
}

async function main() {
  for (let i = 0; i < 100; i++) {
    check(await ask("GET", {}, end), "200 v1", "GET");
    check(await ask("GET", { "end-user": "jason" }, end), "200 v2", "GET of jason");
  }
  const length = { "content-length": body.length };
  check(await ask("POST", length, (r) => r.end(body)), `200 ${sent}`, "POST with a length");
  check(await ask("POST", {}, inPieces), `200 ${sent}`, "POST in chunks");
  const waits = (r) => {
    r.on("continue", () => r.end(body));
    r.flushHeaders();
  };
  const expect = { ...length, expect: "100-continue" };
  check(await ask("PUT", expect, waits), `200 ${sent}`, "PUT that waits for 100");
  check(await ask("HEAD", {}, end), "200", "HEAD");
  const many = Array.from({ length: 400 }, () => ask("GET", {}, end));
  for (const said of await Promise.all(many)) check(said, "200 v1", "one of many");
  agent.destroy();
  console.log("ok");
}

main().catch((problem) => {
  console.error(problem);
  process.exit(1);
});
