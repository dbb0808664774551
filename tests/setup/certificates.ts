/** A certificate authority and a server certificate for loopback, made by openssl, valid for one day. */

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

const SERVER = `basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
`;

/** Makes `ca.pem`, `server.pem` and `server.key` in a folder. */
export async function makeCertificates(folder: string): Promise<Certificates> {
  const openssl = async (...args: string[]) => {
    const { success, stderr } = await new Deno.Command("openssl", {
      args,
      cwd: folder,
    }).output();
    if (!success) {
      throw new Error(
        `openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`,
      );
    }
  };
  const key = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
  ];
  await Deno.writeTextFile(`${folder}/ca.cnf`, CA);
  await Deno.writeTextFile(`${folder}/server.ext`, SERVER);
  await openssl(
    ...["req", "-x509", ...key, "-days", "1", "-config", "ca.cnf"],
    ...["-keyout", "ca.key", "-out", "ca.pem"],
  );
  await openssl(
    ...["req", "-new", ...key, "-subj", "/CN=localhost", "-config", "ca.cnf"],
    ...["-keyout", "server.key", "-out", "server.csr"],
  );
  await openssl(
    ...[
      "x509",
      "-req",
      "-in",
      "server.csr",
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
    ],
    ...[
      "-CAcreateserial",
      "-days",
      "1",
      "-extfile",
      "server.ext",
      "-out",
      "server.pem",
    ],
  );
  return {
    ca: `${folder}/ca.pem`,
    cert: `${folder}/server.pem`,
    key: `${folder}/server.key`,
  };
}
