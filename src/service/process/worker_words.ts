/** What a launcher and its workers say to each other. @module */

/** Ends the line on a worker's stdout that says: all services have started. No program prints this by chance. */
export const READY = "\u001b]warren:ready\u001b\\";

/** The line on a worker's stdin that asks it to drain. The end of its stdin says that the launcher is gone. */
export const DRAIN = "drain\n";
