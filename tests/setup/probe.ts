/** Small questions to the machine: does AMQP answer here, which port is free, is it so yet. */

/** Polls `check` until it is truthy, and gives that; fails with `what` after `ms`. For states that no event announces. */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  ms = 10_000,
  every = 20,
): Promise<Exclude<T, undefined | null | false>> {
  const deadline = performance.now() + ms;
  for (;;) {
    const found = await check();
    if (found) return found as Exclude<T, undefined | null | false>;
    if (performance.now() > deadline) {
      throw new Error(`Waited ${ms} ms in vain: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/**
 * Whether a broker really speaks AMQP 0-9-1 there: an open port is not enough, so this sends the
 * protocol header and looks for Connection.Start (a method frame on channel 0, class 10, method 10).
 */
export async function answersAmqp(
  hostname: string,
  port: number,
  ms = 3_000,
): Promise<boolean> {
  const hangUp = new AbortController();
  const timer = setTimeout(() => hangUp.abort(), ms);
  try {
    using socket = await Deno.connect({
      hostname,
      port,
      signal: hangUp.signal,
    });
    hangUp.signal.addEventListener("abort", () => closeQuietly(socket));
    await socket.write(new Uint8Array([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]));
    const start = new Uint8Array(11);
    for (let got = 0; got < start.length;) {
      const read = await socket.read(start.subarray(got));
      if (read === null) return false;
      got += read;
    }
    return start[0] === 1 && start[8] === 10 && start[10] === 10;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a port of loopback is open. */
export async function isOpen(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

/** Closes what may be closed already. */
export function closeQuietly(closer: { close(): void }): void {
  try {
    closer.close();
  } catch {
    // It was closed already.
  }
}

const given = new Set<number>();

/** Free, and never given before. */
function isFree(port: number): boolean {
  if (given.has(port)) return false;
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}

/**
 * The first of so many free loopback ports in a row, below the range from which systems take the source ports of outgoing
 * connections: a reconnecting client must not be able to sit on the port of a node that is down.
 */
export function freePorts(count: number): number {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 12_000);
    const ports = Array.from({ length: count }, (_, n) => first + n);
    if (!ports.every(isFree)) continue;
    for (const port of ports) given.add(port);
    return first;
  }
}

/** A free loopback port. */
export function freePort(): number {
  return freePorts(1);
}
