// An identity provider for tests, which lets in whoever says a name: npm's oidc-provider.
// Arguments: folder of the package, port, redirect URL, client's id and secret.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, port, redirect, client_id, client_secret] = process.argv.slice(2);
const found = createRequire(`${folder}/here.js`).resolve('oidc-provider');
const { Provider } = await import(pathToFileURL(found));

const PEOPLE = {
  alice: { preferred_username: 'alice', groups: ['builders', 'caf\u00e9'], email: 'alice@example.org', email_verified: true },
  gina: { preferred_username: 'gina', groups: ['builders'] },
  mallory: { preferred_username: '<script>alert(1)</script>', groups: [] },
  nameless: { groups: [] },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect] }],
  claims: { openid: ['sub'], profile: ['preferred_username'], groups: ['groups'], email: ['email', 'email_verified'] },
  scopes: ['openid', 'profile', 'groups', 'email'],
  pkce: { required: () => true },
  conformIdTokenClaims: client_id !== 'tells-all',
  cookies: { keys: ['for tests'] },
  async findAccount(context, id) {
    return { accountId: id, claims: async () => ({ sub: id, ...PEOPLE[id] }) };
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
