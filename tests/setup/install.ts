/** Installs what the tests need from Debian's or Ubuntu's own packages, for machines that have nothing at all. */

const isDarwin = Deno.build.os === "darwin";

// policy-rc.d is how Debian's packages ask whether they may start their service. The answer here
// is no: it would run as a system service on the standard port, which nobody asked for.
const SCRIPT = `
policy=/usr/sbin/policy-rc.d
put_back() { rm -f $policy; [ ! -e $policy.kept ] || mv $policy.kept $policy; }
get() {
  apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"
}
export DEBIAN_FRONTEND=noninteractive
trap put_back EXIT
trap 'exit 130' HUP INT TERM
[ ! -e $policy ] || mv $policy $policy.kept
printf '#!/bin/sh\\nexit 101\\n' >$policy
chmod 755 $policy
get "$@" || { apt-get update && get "$@"; } || exit 1
case $1 in rabbitmq-server | postgresql)
  ! command -v systemctl >/dev/null || systemctl disable "$1" || true ;;
esac
`;

/** Installs rabbitmq-server, or fails with one sentence that says what to do. */
export async function installRabbitmq(): Promise<void> {
  await aptInstall(
    ["rabbitmq-server"],
    "No RabbitMQ is installed and none can be installed from here: run " +
      (isDarwin
        ? "`brew install rabbitmq`"
        : "`sudo apt-get install rabbitmq-server`") +
      ", or set AMQP_URL.",
  );
}

/** Installs openssl, with which tests make certificates, unless it is there; or fails with one sentence that says what to do. */
export async function installOpenssl(): Promise<void> {
  try {
    const command = new Deno.Command("openssl", { args: ["version"] });
    if ((await command.output()).success) return;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await aptInstall(
    ["openssl"],
    "No openssl found and none can be installed from here: run " +
      (isDarwin
        ? "`brew install openssl`."
        : "`sudo apt-get install openssl`."),
  );
}

/** Installs packages as root by apt-get, or fails with one sentence that says what to do. */
export async function aptInstall(
  packages: readonly string[],
  byHand: string,
): Promise<void> {
  const possible = Deno.build.os === "linux" && Deno.uid() === 0 &&
    await exists("/usr/bin/apt-get");
  if (!possible) throw new Error(byHand);
  console.log(
    `Installing ${packages.join(", ")} by apt-get; services stay off.`,
  );
  const { success, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", SCRIPT, "install", ...packages],
    stdin: "null",
  }).output();
  if (success) return;
  const decoder = new TextDecoder();
  console.error(
    `${decoder.decode(stdout)}${decoder.decode(stderr)}`.slice(-4_000),
  );
  throw new Error(byHand);
}

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}
