/** Entry of the compute example: `deno run -A examples/compute.ts`. The program is in `compute/`. @module */
import { main } from "./compute/main.ts";

// No Deno.exit(): what is left running would keep the process alive, and be noticed.
if (import.meta.main) Deno.exitCode = await main(Deno.args);
