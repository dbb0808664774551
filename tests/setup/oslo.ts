/** A Python with the real oslo.messaging: found, or installed from Debian's or Ubuntu's own packages. */
import { aptInstall } from "./install.ts";

const CANDIDATES = ["/usr/bin/python3", "python3"];

/** A Python that can import oslo.messaging; undefined where there is none. */
export function findOslo(): string | undefined {
  return CANDIDATES.find((python) => {
    try {
      const args = ["-c", "import oslo_messaging, oslo_config"];
      return new Deno.Command(python, { args }).outputSync().success;
    } catch {
      return false; // there is no such Python
    }
  });
}

/** Installs it as root by apt-get, or fails with one sentence that says what to do. */
export async function installOslo(): Promise<void> {
  await aptInstall(
    ["python3-oslo.messaging"],
    "No oslo.messaging found and none can be installed from here: run `sudo apt-get install python3-oslo.messaging`.",
  );
}
