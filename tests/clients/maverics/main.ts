// Run:
// npm install jose
// CLIENT_ID=<your-client-id> \
// KEY_PATH=client.pem \
// TOKEN_URL=https://auth.<region>.strata.io/oauth2/token \
// npx tsx main.ts
import { readFile } from "node:fs/promises";
import { SignJWT, importPKCS8 } from "jose";
const CLIENT_ID = process.env.CLIENT_ID!;
const KEY_PATH = process.env.KEY_PATH!;
const TOKEN_URL = process.env.TOKEN_URL!;
interface TokenResponse {
  access_token: string;
  token_type: string;
  expires_in: number;
}
const pem = await readFile(KEY_PATH, "utf8");
const key = await importPKCS8(pem, "ES256");
const assertion = await new SignJWT({})
  .setProtectedHeader({ alg: "ES256", typ: "JWT" })
  .setIssuer(CLIENT_ID)
  .setSubject(CLIENT_ID)
  .setAudience(TOKEN_URL)
  .setIssuedAt()
  .setExpirationTime("5m")
  .sign(key);
const resp = await fetch(TOKEN_URL, {
  method: "POST",
  headers: { "Content-Type": "application/x-www-form-urlencoded" },
  body: new URLSearchParams({
    grant_type: "client_credentials",
    client_assertion_type:
      "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    client_assertion: assertion,
  }),
});
const data = (await resp.json()) as TokenResponse;
console.log(resp.status, data);
