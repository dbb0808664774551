/** What `deno task test` leaves out unless it is given `--all`: repetitions, and what the fault matrix proves at greater length. */

/** Variable of the environment that tells test processes of `--all`. */
export const ALL_VARIABLE = "TEST_ALL";

/** Whether everything runs. */
export const isAll: boolean = Deno.env.get(ALL_VARIABLE) === "1";

/** End of the name of a test that is ignored without `--all`. */
export const ONLY_ALL = "(only with --all)";

/** One line for a run without `--all`. */
export const LEFT_OUT =
  "Left out without --all: rows K13, K15 and K19 of the fault matrix (deno task chaos has them too), " +
  "and most rounds of draining and housekeeping in tests/fleet.";
