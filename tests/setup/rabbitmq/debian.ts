/**
 * RabbitMQ from the packages of a Debian suite, unpacked into a folder of the user's cache. Nothing is installed, nothing
 * needs root, and the system may be older than the suite: Erlang comes with its own libraries and dynamic linker.
 */
import { createHash } from "node:crypto";
import { homedir } from "node:os";

/**
 * Fills the folder `$1` with RabbitMQ `$2` of the suite `$3`. It runs under a lock, which its children inherit: the lock is free
 * only when nothing writes there any more. The file `complete` is made last; a folder without it is begun anew.
 */
const SCRIPT = String.raw`
set -eu
root=$1 version=$2 suite=$3 apt=$1/apt
fail() { echo "E: $*" >&2; exit 1; }
[ ! -e "$root/complete" ] || exit 0
case $root in *[[:space:]]*) fail "RabbitMQ cannot be in a folder with a space: $root" ;; esac
rm -rf "$root"
mkdir -p "$apt/etc" "$apt/lists/partial" "$apt/archives/partial" "$apt/log"

mirrors=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' |
  grep -v security | grep '/debian/*$' | uniq)
[ -n "$mirrors" ] || fail "apt has no mirror of Debian"

# This apt believes that nothing is installed, so it downloads all that RabbitMQ needs, libc too. Signatures are checked, and
# expiry dates are not: a mirror may be late.
: >"$apt/status"
{
  apt-config dump | grep -iE '^Acquire::(https?::|Retries|ForceIPv)' || true
  cat <<END
Dir "$apt"; Dir::Etc "$apt/etc"; Dir::State "$apt"; Dir::State::status "$apt/status";
Dir::Cache "$apt"; Dir::Log "$apt/log"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false";
APT::Architectures "$(dpkg --print-architecture)"; APT::Install-Recommends "false"; APT::Sandbox::User "root";
APT::Update::Error-Mode "any"; Debug::NoLocking "true";
END
} >"$apt/apt.conf"
export APT_CONFIG="$apt/apt.conf"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
updated=no
for mirror in $mirrors; do
  echo "deb [signed-by=$keys] $mirror $suite main" >"$apt/etc/sources.list"
  ! apt-get -q update || { updated=yes; break; }
done
[ $updated = yes ] || exit 1
apt-get -q -y --download-only install rabbitmq-server
for package in "$apt"/archives/*.deb; do dpkg -x "$package" "$root"; done
rm -rf "$apt" "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/share/zoneinfo

# A script takes the place of each program of Erlang, and starts the program with the libraries that came with it.
erlang=$root/usr/lib/erlang
linker=$(echo "$root"/usr/lib/*/ld-linux-*.so.?)
libraries=$(dirname "$linker")
find "$erlang" -type f -perm /111 ! -name '*.so' ! -name '*.elf' | while read -r program; do
  [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] || continue
  mv "$program" "$program.elf"
  printf '#!/bin/sh\nexec "%s" --library-path "%s" --argv0 "$0" "%s" "$@"\n' \
    "$linker" "$libraries" "$program.elf" >"$program"
  chmod 755 "$program"
done
sed -i "s|ROOTDIR=\"*/usr/lib/erlang\"*|ROOTDIR=\"$erlang\"|" "$erlang/bin/erl" "$erlang"/erts-*/bin/erl
found=$("$erlang/bin/erl" -noshell -eval 'io:put_chars(code:root_dir()), halt().')
[ "$found" = "$erlang" ] || fail "Erlang runs in $found, not in $erlang"

# RabbitMQ's scripts look for Erlang in the path, which begins with their own folder.
sbin=$(echo "$root"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin)
server=$(basename "$(dirname "$sbin")")
case $server in rabbitmq_server-"$version".*) ;; *) fail "it has $server now" ;; esac
ln -s "$erlang/bin/erl" "$erlang/bin/epmd" "$erlang/bin/escript" "$sbin"
: >"$root/complete"
`;

/** Another script makes another folder, so a folder that is in use is never changed. */
const RECIPE = createHash("sha256").update(SCRIPT).digest("hex").slice(0, 8);

function folderOf(version: string): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") || `${homedir()}/.cache`;
  return `${cache}/warren/rabbitmq-${version}-${RECIPE}`;
}

/** The folder of the scripts of a version that was unpacked before, or undefined. */
export function findUnpacked(version: string): string | undefined {
  const folder = folderOf(version);
  const lib = `${folder}/usr/lib/rabbitmq/lib`;
  try {
    Deno.statSync(`${folder}/complete`);
    const server = [...Deno.readDirSync(lib)].find(({ name }) =>
      name.startsWith("rabbitmq_server-")
    );
    return server && `${lib}/${server.name}/sbin`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Unpacks a version unless that was done before; resolves to the folder of its scripts.
 *
 * @throws {Error} One sentence, if the packages cannot be had.
 */
export async function unpack(version: string, suite: string): Promise<string> {
  const unpacked = findUnpacked(version);
  if (unpacked) return unpacked;
  const folder = folderOf(version);
  console.log(
    `Unpacking RabbitMQ ${version} from Debian ${suite} in ${folder}, once.`,
  );
  await Deno.mkdir(folder, { recursive: true });
  const reason = await runScript(folder, version, suite);
  const sbin = findUnpacked(version);
  if (sbin) return sbin;
  throw new Error(
    `RabbitMQ ${version} cannot be unpacked from Debian ${suite} (${reason}): ` +
      "give the folder of a RabbitMQ with --rabbitmq, or set AMQP_URL.",
  );
}

/** Runs the script under the lock of the folder; resolves to the reason of a failure. */
async function runScript(...args: [folder: string, ...string[]]) {
  const [folder] = args;
  const lock = `${folder}.lock`;
  const script = ["sh", "-c", SCRIPT, "unpack", ...args];
  try {
    const { stderr } = await new Deno.Command("flock", {
      args: [lock, ...script],
      env: { LC_ALL: "C.UTF-8" },
      stdin: "null",
    }).output();
    const lines = new TextDecoder().decode(stderr).trim().split("\n");
    const error = lines.find((line) => line.startsWith("E: "));
    return (error ?? lines.at(-1) ?? "").replace("E: ", "");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "flock is not installed";
    throw error;
  }
}
