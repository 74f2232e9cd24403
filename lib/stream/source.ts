import type { Blocks } from '../wire/blocks.js'

/**
 * What a stream does with an entry of a log that it has no credit for.
 *
 * | `whenBehind`   | new entry, live  | older entry, lagging         | when the queue is full |
 * |----------------|------------------|------------------------------|------------------------|
 * | `'replay'`     | stays in the log | stays in the log             | –                      |
 * | `'queue'`      | queued           | queued, also without credit  | the policy drops       |
 * | `'disconnect'` | queued           | stays in the log             | the stream closes      |
 *
 * An entry that stays in the log is read from there once there is credit. Events in no log are queued in all cases.
 */
export type WhenBehind = 'replay' | 'queue' | 'disconnect'

/**
 * Where a source writes, and its credit: what the socket takes and what pacing grants. After `write`, or `spend` of one
 * event, has returned `false`, nothing more may be written until `onDrain`.
 */
export interface Sink {
  /** `false` while the socket is full, pacing grants nothing, or the stream has ended. */
  readonly hasCredit: boolean
  readonly whenBehind: WhenBehind
  /** Whether entries of a log wait in the queue. Later entries, and what is announced about the log, must follow them. */
  readonly holdsEntries: boolean
  /** Whether `spend` may refuse. If so, it is best to write one event at a time. */
  readonly paced: boolean
  /**
   * Requests credit for events: for all of them or none. Events with credit must be written. A request for several
   * events may be refused where a request for one is granted. Control events need no credit.
   */
  spend(events: number, bytes: number): boolean
  /**
   * Writes complete blocks. The blocks are always accepted.
   * @param events the number of events in the blocks
   */
  write(blocks: Blocks, events: number): void
}

/** Counters and levels of a stream, for metrics. */
export interface StreamCounts {
  /** Events written since the stream was opened. */
  readonly sent: number
  /** Events of the log that the stream has not been sent yet, without those in its queue. */
  readonly lag: number
  /** Events in the queue now. */
  readonly queued: number
  /** Bytes of the events in the queue now. */
  readonly queuedBytes: number
  /** How full the queue is, by events or by bytes, whichever is more: 0 to 1. */
  readonly saturation: number
  /** Whether the socket's buffer is full. */
  readonly full: boolean
  /** Events that pacing has granted since the stream was opened. */
  readonly pacedEvents: number
  /** Bytes likewise. */
  readonly pacedBytes: number
}

/** The source that feeds a stream from logs. The stream calls it. */
export interface StreamSource {
  /** Whether the stream is behind the logs. */
  readonly lagging: boolean
  /** The number of events that it is behind. */
  readonly lag: number
  /** The stream has credit again, and its queue is empty. */
  onDrain(): void
  /**
   * The source is reading a page, and its last page arrived after others had spent the credit: the stream keeps the
   * credit for this page. The time is bounded; the source reports the end to the stream (`onClaimEnd`).
   */
  readonly claimsCredit: boolean
  /** Sends at most one write. @returns whether something was sent */
  sendSome(): boolean
  /** The stream has begun to close. Called once. */
  onClose(): void
}
