// A certified authorization server for the tests of Keygate: opaque and JWT access tokens, introspection, revocation, and
// signing keys that are rotated while it runs. Prints where it listens as one line of JSON; ends when its standard input does.
//
// POST /test/publish     adds the next signing keys to the key set; the old ones go on signing
// POST /test/sign        the next keys sign, the old ones stay in the set
// POST /test/withdraw    takes the old ones out of the set
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';

const [appSecret, gatewaySecret, gatewayKey] = process.argv.slice(2);
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const RESOURCES = 'https://api.example.test/';

let generation = 0;
async function nextKeys() {
  generation += 1;
  return Promise.all(ALGORITHMS.map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...await exportJWK(privateKey), alg, use: 'sig', kid: `${alg}-${generation}` };
  }));
}

// Shared by all instances, so that opaque tokens outlive a rotation.
const stored = new Map();
class Adapter {
  constructor(model) {
    this.model = model;
  }

  async upsert(id, payload) {
    stored.set(`${this.model}:${id}`, payload);
  }

  // The provider itself looks whether what is found has expired.
  async find(id) {
    return stored.get(`${this.model}:${id}`);
  }

  async destroy(id) {
    stored.delete(`${this.model}:${id}`);
  }
}

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

/** One instance: `published` is its key set, `signing` are those of it that sign. */
function provider(published, signing) {
  return new Provider(issuer, {
    adapter: Adapter,
    jwks: { keys: published },
    clients: [
      { client_id: 'app', client_secret: appSecret, grant_types: ['client_credentials'], response_types: [], redirect_uris: [] },
      { client_id: 'key gate:1', client_secret: gatewaySecret, grant_types: [], response_types: [], redirect_uris: [] },
      {
        client_id: 'keygate-with-key',
        token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'ES256',
        jwks: { keys: [JSON.parse(gatewayKey)] },
        grant_types: [],
        response_types: [],
        redirect_uris: [],
      },
    ],
    scopes: ['orders:read', 'orders:write'],
    ttl: { ClientCredentials: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? 600 },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        // https://api.example.test/opaque, /short (opaque, two seconds), /RS256 …
        getResourceServerInfo(_ctx, indicator) {
          const kind = indicator.slice(RESOURCES.length);
          const key = signing.find((candidate) => candidate.alg === kind);
          return {
            scope: 'orders:read orders:write',
            audience: indicator,
            accessTokenTTL: kind === 'short' ? 2 : 600,
            ...(key
              ? { accessTokenFormat: 'jwt', jwt: { sign: { alg: kind, kid: key.kid } } }
              : { accessTokenFormat: 'opaque' }),
          };
        },
      },
    },
  });
}

let old = await nextKeys();
let next = [];
let instance = provider(old, old).callback();

async function step(name) {
  if (name === 'publish') {
    next = await nextKeys();
    instance = provider([...old, ...next], old).callback();
  } else if (name === 'sign') {
    instance = provider([...old, ...next], next).callback();
  } else if (name === 'withdraw') {
    [old, next] = [next, []];
    instance = provider(old, old).callback();
  } else {
    throw new Error(`no step ${name}`);
  }
}

server.on('request', async (request, response) => {
  const test = request.url.match(/^\/test\/(\w+)$/);
  if (!test) {
    instance(request, response);
    return;
  }
  try {
    await step(test[1]);
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
process.stdin.resume().on('end', () => process.exit(0));
console.log(JSON.stringify({ issuer }));
