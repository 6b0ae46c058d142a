// Gives tokens as Entra ID does: to one application for its secret, or for the assertion that a
// workload has in a file; and as a machine or container of Azure does, whose managed identity it
// is, to whoever is told its header. Both exist in the cloud only. Azurite reads who they are for and until when, not who signed them.
const { createServer } = require("https");
const { readFileSync } = require("fs");
const [host, port, certificate, key, application, secret] = process.argv.slice(2);

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function token() {
  const now = Math.floor(Date.now() / 1000);
  const claims = { aud: "https://storage.azure.com", iss: "https://sts.windows.net/bed/", iat: now, nbf: now, exp: now + 3600 };
  return `${part({ alg: "none", typ: "JWT" })}.${part(claims)}.bed`;
}

function answer(request, form) {
  const path = request.url;
  if (path.startsWith("/machine/token?")) {
    const asked = new URLSearchParams(path.slice(path.indexOf("?")));
    const allowed = request.headers.metadata === "true" && request.headers["x-identity-header"] === secret;
    if (!allowed || asked.get("resource") !== "https://storage.azure.com") {
      return [400, { error: "invalid_request", error_description: "Required metadata header not specified" }];
    }
    const end = Math.floor(Date.now() / 1000) + 3600;
    return [200, { token_type: "Bearer", expires_on: String(end), access_token: token() }];
  }
  const known = form.get("client_id") === application &&
    (form.get("client_secret") === secret || form.get("client_assertion") === secret);
  if (path !== "/bed/oauth2/v2.0/token" || !known) {
    return [401, { error: "invalid_client", error_description: "AADSTS7000215: Invalid client secret provided." }];
  }
  return [200, { token_type: "Bearer", expires_in: 3600, access_token: token() }];
}

const options = { cert: readFileSync(certificate), key: readFileSync(key) };
createServer(options, (request, response) => {
  let body = "";
  request.on("data", (chunk) => (body += chunk));
  request.on("end", () => {
    const [status, value] = answer(request, new URLSearchParams(body));
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(value));
  });
}).listen(Number(port), host);
