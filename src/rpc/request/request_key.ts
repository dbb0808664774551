/** Keys of requests, by which a request that arrives again is recognised. @module */
import process from "node:process";
import type { Dialect, Request } from "../../wire/mod.ts";
import { type Digest, digestOf } from "../cache/digest.ts";

/** Key of a request. */
export class RequestKey {
  /** Text of the key. */
  readonly text: string;
  /** Reply address of the request, unless the text contains it. */
  readonly reader: string;
  #digest: Digest | undefined;

  /** Creates a key of a text and a reply address. */
  constructor(text: string, reader: string) {
    this.text = text;
    this.reader = reader;
  }

  /** Digest of the text, which stands for it in the caches; computed once. */
  get digest(): Digest {
    return this.#digest ??= digestOf(this.text);
  }

  /**
   * Text with the reply address, for claims in the shared ledger. It distinguishes two calls with the same content.
   */
  get full(): string {
    return this.text + this.reader;
  }
}

/** Maximum length of the content that a key contains as it is; of longer content it contains a digest. */
const MAX_CONTENT_LENGTH = 128;

/**
 * Returns the key of a request; undefined without an id. The id alone is not enough, since another peer may use the
 * same id. The key of Warren's requests has the id and the call's reply address, which costs nothing. The key of all
 * other requests has their content instead of the reply address, so that a request that is sent again as a new call has
 * the same key.
 */
export function requestKey(
  request: Request,
  dialect: Dialect,
): RequestKey | undefined {
  const { id, attempt = 1, deadLetterCount = 0, reply, warren, to } = request;
  if (id === undefined) return undefined;
  // The lengths of the peer's texts in the key ensure that no two different requests have the same key.
  const first = `${attempt} ${deadLetterCount} ${id.length}`;
  // A cast of Warren has no `warren` header, but an address.
  if (!warren && to === undefined) {
    const text = `${first} = ${id}${contentOf(request, dialect)}`;
    return new RequestKey(text, readerOf(request));
  }
  const { call = "", queue = "" } = reply ?? {};
  // Most calls have the same id as their request.
  const [length, more] = call === id ? ["", ""] : [call.length, call];
  const text = `${first} ${length} ${id}${more}${queue}`;
  return new RequestKey(text, readerOf(request));
}

/** Returns the content of a request and the form of its reply, as a text or its digest. */
function contentOf(request: Request, dialect: Dialect): string {
  const { method, namespace, version, args, context, reply } = request;
  const form = reply && [dialect.name, reply.form, reply.ids];
  const content = [method, namespace, version, args, context, form];
  const text = JSON.stringify(content);
  return text.length > MAX_CONTENT_LENGTH ? sha256Of(text) : text;
}

/** Returns the reply address of a request, unless its key contains it. */
function readerOf({ reply, warren }: Request): string {
  return reply && !warren
    ? `${reply.call.length} ${reply.call}${reply.queue}`
    : "";
}

/** Returns a digest of a text. Loads `node:crypto` when it is first needed, since that takes milliseconds. */
export function sha256Of(text: string): string {
  const { createHash } = process.getBuiltinModule("node:crypto");
  return createHash("sha256").update(text).digest("base64url");
}
