/** A certificate authority, and certificates of servers and clients on loopback, made by openssl, valid for one day. */

/** PEM files in the folder that was named. */
export interface Certificates {
  /** The authority's certificate: a path. */
  ca: string;
  /** The server's certificate: a path. */
  cert: string;
  /** The server's private key: a path. */
  key: string;
}

const CA = `[req]
distinguished_name = dn
prompt = no
x509_extensions = ext
[dn]
CN = Warren test authority
[ext]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
`;

const EXTENSIONS = {
  server: (names: string) =>
    `extendedKeyUsage = serverAuth\nsubjectAltName = ${names}\n`,
  client: () => "extendedKeyUsage = clientAuth\n",
};

/** A new key on a curve, without a passphrase. */
const NEW_KEY = [
  ...["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
];

async function openssl(folder: string, ...args: string[]): Promise<void> {
  const command = new Deno.Command("openssl", { args, cwd: folder });
  const { success, stderr } = await command.output();
  if (success) return;
  throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}

/** Makes `<name>.pem` and `<name>.key`, signed by the authority in the folder. */
async function sign(
  folder: string,
  name: string,
  subject: string,
  extensions: string,
): Promise<void> {
  await Deno.writeTextFile(
    `${folder}/${name}.ext`,
    "basicConstraints = critical, CA:FALSE\n" +
      `keyUsage = critical, digitalSignature\n${extensions}`,
  );
  await openssl(
    folder,
    ...["req", "-new", ...NEW_KEY, "-subj", `/CN=${subject}`],
    ...["-config", "ca.cnf", "-keyout", `${name}.key`, "-out", `${name}.csr`],
  );
  await openssl(
    folder,
    ...["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem"],
    ...["-CAkey", "ca.key", "-CAcreateserial", "-days", "1"],
    ...["-extfile", `${name}.ext`, "-out", `${name}.pem`],
  );
}

/** Makes `ca.pem`, `server.pem` and `server.key` in a folder; `names` are those of the server. */
export async function makeCertificates(
  folder: string,
  names = "DNS:localhost, IP:127.0.0.1",
): Promise<Certificates> {
  await Deno.writeTextFile(`${folder}/ca.cnf`, CA);
  await openssl(
    folder,
    ...["req", "-x509", ...NEW_KEY, "-days", "1", "-config", "ca.cnf"],
    ...["-keyout", "ca.key", "-out", "ca.pem"],
  );
  await sign(folder, "server", "localhost", EXTENSIONS.server(names));
  return {
    ca: `${folder}/ca.pem`,
    cert: `${folder}/server.pem`,
    key: `${folder}/server.key`,
  };
}

/** Makes a client's certificate of the authority in a folder; returns certificate and key in PEM. */
export async function makeClientCertificate(
  folder: string,
  user: string,
): Promise<{ readonly cert: string; readonly key: string }> {
  const name = `client-${user}`;
  await sign(folder, name, user, EXTENSIONS.client());
  return {
    cert: await Deno.readTextFile(`${folder}/${name}.pem`),
    key: await Deno.readTextFile(`${folder}/${name}.key`),
  };
}
