// Makes an API key with a client that is generated from the description of the admin API, and revokes the key.
import createClient from 'openapi-fetch';
import type { components, paths } from './description.js';

declare const process: { argv: string[] };
const [url, token] = process.argv.slice(2);
const gate = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

const made = await gate.POST('/admin/v1/keys', { body: { name: 'ci', scopes: ['orders:read'], expires: '90d' } });
if (made.error) throw new Error(`${made.response.status} ${made.error.detail}`);
const id: string = made.data.id;
console.log('made', made.response.status, made.data.name, made.data.scopes.join(' '));

const revoked = await gate.POST('/admin/v1/keys/{id}/revoke', { params: { path: { id } } });
if (revoked.error) throw new Error(`${revoked.response.status} ${revoked.error.detail}`);
// 202, without a state: the store cannot be written, so the revocation is in force and waits for it.
if (!('state' in revoked.data)) throw new Error(`${revoked.response.status} ${revoked.data.detail}`);
console.log('revoked', revoked.response.status, revoked.data.state);

const unknown = await gate.GET('/admin/v1/keys/{id}', { params: { path: { id: 'none' } } });
const problem: components['schemas']['Problem'] | undefined = unknown.error;
console.log('unknown', unknown.response.status, problem?.type);
