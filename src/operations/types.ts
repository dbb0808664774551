/** Public types of operations, which `mod.ts` exports. @module */
export type { Operations } from "./operations.ts";
export type {
  CancelResult,
  ConcurrencyResult,
  PauseOptions,
  RunningRequests,
  SteeringOperations,
} from "./steering/steering.ts";
export type { AnsweringWorker, OperationOptions } from "./steering/commands.ts";
export type {
  PausedQueue,
  PauseResult,
  ResumeResult,
} from "./steering/pauses.ts";
export type { SteeredServices, SteeredTarget } from "./steering/targets.ts";
export type { TaskRunResult } from "./steering/tasks.ts";
export type { QueueOperations } from "./queue_operations.ts";
export type { Diagnosis, Finding, FindingCode } from "./diagnosis/diagnosis.ts";
export type { DiagnoseOptions } from "./diagnosis/diagnose.ts";
export type {
  QueueFilter,
  QueueInfo,
  QueueLook,
  QueuesOptions,
} from "./queues/queue_list.ts";
export type { NamedQueue, QueueKind } from "./queues/queue_kinds.ts";
export type {
  DeadLetterOperations,
  ReadOptions,
} from "./letters/dead_letters.ts";
export type {
  CastLetterFilter,
  DeadLetterFilter,
  EventLetterFilter,
  EventQueues,
  LetterConditions,
} from "./letters/filter.ts";
export type { DeadLetterGroup } from "./letters/groups.ts";
export type { DiscardOptions } from "./letters/discard.ts";
export type { ReplayOptions } from "./letters/replay.ts";
export type {
  DiscardResult,
  FailedReplay,
  OperationEnd,
  ReplayResult,
} from "./letters/results.ts";
