/** Events of a contract, each sent in its cell. @module */
import type { EventContract } from "../contract/events.ts";
import type { NotifyOptions } from "../rpc/notifications/notifier.ts";
import type {
  Notifier,
  NotifierOptions,
} from "../rpc/notifications/typed_notifier.ts";
import type { CellRouter } from "./cell_router.ts";

/** Creates the notifier of a contract in all cells; `topic` is that of the events for the route. */
export function createCellsNotifier<E extends EventContract>(
  router: CellRouter,
  topic: string,
  contract: E,
  defaults: NotifierOptions = {},
): Notifier<E> {
  const notifiers = new Map(
    router.cells.map((cell): [typeof cell, Notifier<EventContract>] => [
      cell,
      cell.context.notifier<EventContract>(contract, defaults),
    ]),
  );
  return {
    notify: async (
      eventType: string,
      payload: unknown,
      options: NotifyOptions = {},
    ) => {
      await router.send(
        { topic, eventType, payload },
        async (cell) =>
          await notifiers.get(cell)?.notify(eventType, payload, options),
      );
    },
  };
}
