/** Tokens that RabbitMQ's OAuth 2 plugin takes in place of a password: signed here, so that no server is needed. */
import type { Credentials } from "../../../mod.ts";

const ALGORITHM = {
  name: "RSASSA-PKCS1-v1_5",
  hash: "SHA-256",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
} as const;

const utf8 = (text: string) => new TextEncoder().encode(text);
const base64url = (bytes: Uint8Array) =>
  bytes.toBase64({ alphabet: "base64url", omitPadding: true });

/** Who signs them. */
export class Issuer implements AsyncDisposable {
  readonly #key: CryptoKey;
  readonly #file: string;

  private constructor(key: CryptoKey, file: string) {
    this.#key = key;
    this.#file = file;
  }

  /** One with a key of its own. */
  static async make(): Promise<Issuer> {
    const uses: KeyUsage[] = ["sign", "verify"];
    const { privateKey, publicKey } = await crypto.subtle.generateKey(
      ALGORITHM,
      true,
      uses,
    );
    const der = await crypto.subtle.exportKey("spki", publicKey);
    const lines = new Uint8Array(der).toBase64().replace(/.{64}/g, "$&\n");
    const file = await Deno.makeTempFile({ prefix: "warren-issuer-" });
    const pem =
      `-----BEGIN PUBLIC KEY-----\n${lines}\n-----END PUBLIC KEY-----`;
    await Deno.writeTextFile(file, `${pem}\n`);
    return new Issuer(privateKey, file);
  }

  /** Lines of rabbitmq.conf for a node that trusts it, as its backend of that place. */
  config(place: string): string {
    return `${place} = rabbit_auth_backend_oauth2
auth_oauth2.resource_server_id = rabbitmq
auth_oauth2.default_key = one
auth_oauth2.signing_keys.one = ${this.#file}`;
  }

  /** Credentials of the user `compute`, who may do all for so many milliseconds, or up to a second less. */
  async credentials(ms: number): Promise<Credentials> {
    const exp = Math.floor((Date.now() + ms) / 1_000);
    const all = ["read", "write", "configure"];
    const scope = all.map((verb) => `rabbitmq.${verb}:*/*/*`).join(" ");
    const parts = [
      { alg: "RS256", typ: "JWT", kid: "one" },
      { sub: "compute", aud: ["rabbitmq"], exp, scope },
    ];
    const signed = parts.map((part) => base64url(utf8(JSON.stringify(part))))
      .join(".");
    const { name } = ALGORITHM;
    const signature = await crypto.subtle.sign(name, this.#key, utf8(signed));
    const password = `${signed}.${base64url(new Uint8Array(signature))}`;
    return { username: "compute", password, expires: exp * 1_000 };
  }

  /** Removes the file of its key. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#file);
  }
}
