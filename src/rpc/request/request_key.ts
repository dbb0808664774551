/**
 * Keys of requests, by which a request that arrives again is recognised.
 *
 * The key of a request is its id, the number of its attempt, and the number of times that it was a dead letter; each
 * queue has keys of its own. The content of a request is its procedure with namespace and version, its arguments, its
 * context, and the form of its reply. It is no part of the key: a request with the key of an earlier one is that request
 * again if the content is equal, and is refused otherwise. The reply queue, deadlines, traces, and the counters of the
 * headers belong to neither, since they change when a request is sent again.
 *
 * @module
 */
import process from "node:process";
import { markDispatchError } from "../dispatch/handler_result.ts";
import { RequestConflictError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import type { Dialect, Request } from "../../wire/mod.ts";
import { type Digest, digestOf } from "../cache/digest.ts";

/** Key of a request, and its content. */
export class RequestKey {
  /** Text of the key. */
  readonly text: string;
  readonly #makeContent: () => string;
  #digest: Digest | undefined;
  #content: string | undefined;
  #contentDigest: Digest | undefined;

  /** Creates a key of a text; `makeContent` returns the content of the request, or its digest. */
  constructor(text: string, makeContent: () => string) {
    this.text = text;
    this.#makeContent = makeContent;
  }

  /** Digest of the text, which stands for it in the caches; computed once. */
  get digest(): Digest {
    return this.#digest ??= digestOf(this.text);
  }

  /**
   * Content of the request, or its digest if it is long; computed once. It has to be read before the handler runs, since
   * a handler may change its arguments.
   */
  get content(): string {
    return this.#content ??= this.#makeContent();
  }

  /** Digest of the content; computed once. */
  get contentDigest(): Digest {
    return this.#contentDigest ??= digestOf(this.content);
  }
}

/** Maximum length of a content that is compared as it is; of a longer one the SHA-256 is compared. */
const MAX_CONTENT_LENGTH = 128;

/** Returns the key of a request; undefined without an id. */
export function requestKey(
  request: Request,
  dialect: Dialect,
): RequestKey | undefined {
  const { id, attempt = 1, deadLetterCount = 0 } = request;
  if (id === undefined) return undefined;
  const text = `${attempt} ${deadLetterCount} ${id}`;
  return new RequestKey(text, () => contentOf(request, dialect));
}

/**
 * Returns the content of a request, or its SHA-256. JSON keeps the order of keys, so that a request with the same bytes
 * has the same content.
 */
function contentOf(request: Request, dialect: Dialect): string {
  const { method, namespace, version, args, context, reply, warren } = request;
  const form = reply &&
    [dialect.name, reply.form, reply.ids, warren !== undefined];
  const content = [method, namespace, version, args, context, form];
  const text = JSON.stringify(content);
  return text.length > MAX_CONTENT_LENGTH ? sha256Of(text) : text;
}

/** Returns the SHA-256 of a text in base64url. Loads `node:crypto` when it is first needed, since that takes milliseconds. */
export function sha256Of(text: string): string {
  const { hash } = process.getBuiltinModule("node:crypto");
  return hash("sha256", text, "base64url");
}

/** Returns the error for a request with the key of another one. It does not tell the content of that one. */
export function conflictError(
  { id = "", method }: Pick<Request, "id" | "method">,
): RequestConflictError {
  const text = `Refused ${
    oneLine(method, 60)
  }: an earlier request with the id ${
    oneLine(id, 60)
  } had another procedure, version, context or form of its reply, or other arguments; give each request an id of its own`;
  return markDispatchError(new RequestConflictError(text));
}
