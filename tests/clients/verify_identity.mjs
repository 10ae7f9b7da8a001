// Verifies identity tokens as an upstream in another language would: keys from the gate's JWKS, issuer, audience, type.
// Arguments: the URL of the JWKS, the issuer. Standard input: one JSON object a line, { token, audience, typ? }.
// Standard output: for each the claims with the header's `kid`, or { "refused": <code> }.

import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

const [url, issuer] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url));
for await (const line of createInterface({ input: process.stdin })) {
  const { token, audience, typ = "keygate-identity+jwt" } = JSON.parse(line);
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer, audience, typ, requiredClaims: ["exp", "iat", "jti", "sub"] });
    console.log(JSON.stringify({ ...payload, kid: protectedHeader.kid, alg: protectedHeader.alg }));
  } catch (error) {
    console.log(JSON.stringify({ refused: error.code ?? String(error), claim: error.claim }));
  }
}
