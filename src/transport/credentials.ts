/** Login and TLS settings of connections to a broker. @module */

/**
 * TLS settings of `amqps:` URLs. Certificates are always verified.
 * @category Connections
 */
export interface TlsOptions {
  /** Certificates of trusted authorities, in PEM; default: those of the runtime. */
  readonly ca?: string | undefined;
  /** Certificate of the client, in PEM. */
  readonly cert?: string | undefined;
  /** Private key of the client, in PEM. */
  readonly key?: string | undefined;
  /** Name in the certificate of the broker; default: the host of the URL. */
  readonly servername?: string | undefined;
}

/**
 * Login of a connection.
 * @category Connections
 */
export interface Credentials {
  /** User name. */
  readonly username: string;
  /** Password, or another secret that the broker accepts instead, e.g. an OAuth 2 token. */
  readonly password: string;
  /**
   * Time at which the credentials expire, in milliseconds since 1970 (`Date.now()`); default: never. Before that time,
   * an open connection gets new credentials.
   */
  readonly expires?: number | undefined;
}
