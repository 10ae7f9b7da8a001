// A client with the certified library oauth4webapi: discovery, client_credentials, and what else it is asked for.
//
// ISSUER, CLIENT_ID, SCOPE (none: not sent) and one of
//   CLIENT_SECRET, sent as AUTHENTICATION says: client_secret_basic (default) or client_secret_post
//   KEY_PATH (PKCS #8 PEM) with ALGORITHM, KID (none: not sent)
// DISCOVERY: oauth2 (default: RFC 8414) or oidc; TOKEN_ENDPOINT, where it is not the discovered one
// AUDIENCE: checks the token as a resource server would, by RFC 9068
// THEN: words of `introspect` and `revoke`, in the order they are wanted
// Standard output: one JSON object with what each step gave; a refusal is { refused: { status, error, error_description } }.

import { readFile } from "node:fs/promises";
import { importPKCS8 } from "jose";
import * as oauth from "oauth4webapi";

const { ISSUER, CLIENT_ID, SCOPE, CLIENT_SECRET, AUTHENTICATION, KEY_PATH, ALGORITHM, KID, DISCOVERY, TOKEN_ENDPOINT, AUDIENCE, THEN } = process.env;
// The tests' servers are on loopback.
const options = { [oauth.allowInsecureRequests]: true };

const issuer = new URL(ISSUER);
const discovered = await oauth.discoveryRequest(issuer, { ...options, algorithm: DISCOVERY ?? "oauth2" });
const server = await oauth.processDiscoveryResponse(issuer, discovered);
const report = { metadata: { ...server } };
if (TOKEN_ENDPOINT) server.token_endpoint = TOKEN_ENDPOINT;

async function authentication() {
  if (KEY_PATH) {
    const key = await importPKCS8(await readFile(KEY_PATH, "utf8"), ALGORITHM);
    return oauth.PrivateKeyJwt(KID ? { key, kid: KID } : key);
  }
  return AUTHENTICATION === "client_secret_post" ? oauth.ClientSecretPost(CLIENT_SECRET) : oauth.ClientSecretBasic(CLIENT_SECRET);
}

const client = { client_id: CLIENT_ID };
try {
  const proof = await authentication();
  const parameters = new URLSearchParams(SCOPE ? { scope: SCOPE } : {});
  const answer = await oauth.clientCredentialsGrantRequest(server, client, proof, parameters, options);
  report.cache_control = answer.headers.get("cache-control");
  report.token = await oauth.processClientCredentialsResponse(server, client, answer);
  const { access_token: token } = report.token;
  if (AUDIENCE) {
    const request = new Request(AUDIENCE, { headers: { authorization: `Bearer ${token}` } });
    report.claims = await oauth.validateJwtAccessToken(server, request, AUDIENCE, options);
  }
  report.then = [];
  for (const step of (THEN ?? "").split(" ").filter(Boolean)) {
    if (step === "introspect") {
      const answer = await oauth.introspectionRequest(server, client, proof, token, options);
      report.then.push(await oauth.processIntrospectionResponse(server, client, answer));
    } else {
      const answer = await oauth.revocationRequest(server, client, proof, token, options);
      await oauth.processRevocationResponse(answer);
      report.then.push("revoked");
    }
  }
} catch (error) {
  if (!(error instanceof oauth.ResponseBodyError) && !(error instanceof oauth.WWWAuthenticateChallengeError)) throw error;
  const { status, error: code, error_description, cause } = error;
  report.refused = { status, error: code ?? cause, error_description };
}
console.log(JSON.stringify(report));
