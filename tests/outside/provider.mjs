// A real OpenID Connect provider on loopback, for one client: node provider.mjs ENTRY CLIENT SECRET BACK ACR. Prints its address when it listens.
import { pathToFileURL } from "node:url";

const [entry, client, secret, back, acr] = process.argv.slice(2);
const { default: Provider } = await import(pathToFileURL(entry));

const server = (await import("node:http")).createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: client, client_secret: secret, redirect_uris: [back], response_types: ["code"], grant_types: ["authorization_code"] }],
    pkce: { required: () => true },
    acrValues: [acr],
    features: { devInteractions: { enabled: true } },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    cookies: { keys: ["of this test only"] },
  });
  server.on("request", provider.callback());
  console.log(issuer);
});
process.stdin.on("end", () => process.exit(0)).resume();
